/* Rows and queries in whole numbers. */

#include "queries.h"
#include "scan.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

static const double STEPS = 63, SMALLEST = 1e-200;

AVX2 static double round_query(const Rounding *rounding, const float *query, int8_t *steps) {
    double most = 0, length = 0, off = 0;
    for (size_t i = 0; i < rounding->d; i++) {
        double scaled = fabs((double)query[i] * rounding->scales[i]);
        most = scaled > most ? scaled : most;
    }
    const double unit = most / STEPS > SMALLEST ? most / STEPS : SMALLEST;
    for (size_t i = 0; i < rounding->d; i++) {
        double scaled = (double)query[i] * rounding->scales[i], step = rint(scaled / unit);
        double apart = scaled - step * unit;
        steps[i] = isfinite(step) ? (int8_t)step : 0; /* where it is not, the slack is none either, and all is kept */
        length += scaled * scaled;
        off += apart * apart;
    }
    const double each = rounding->most_off + rounding->rounding * (rounding->longest + rounding->most_off);
    return 2 * (1 + rounding->rounding) * (sqrt(off) * rounding->longest + sqrt(length) * each) / unit;
}

enum { MIDDLE = 128 }; /* what stands for 0 in a row */

AVX2 static double sum_of(__m256d four) {
    double numbers[4];
    _mm256_storeu_pd(numbers, four);
    return (numbers[0] + numbers[1]) + (numbers[2] + numbers[3]);
}

static double larger(double one, double other) { return one > other ? one : other; }

/* Four numbers of a row stand together, and are rounded together. */
AVX2 static void round_row(Rounded *rounded, const float *row, uint8_t *into) {
    const __m128i middle = _mm_set1_epi32(MIDDLE);
    __m256d lengths = _mm256_setzero_pd(), offs = lengths;
    size_t i = 0;
    for (; i + 4 <= rounded->d; i += 4) {
        __m256d scaled = _mm256_div_pd(_mm256_cvtps_pd(_mm_loadu_ps(row + i)), _mm256_loadu_pd(rounded->scales + i));
        __m256d steps = _mm256_round_pd(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m256d apart = _mm256_sub_pd(scaled, steps);
        __m128i whole = _mm_add_epi32(_mm256_cvtpd_epi32(steps), middle);
        int four = _mm_cvtsi128_si32(_mm_packus_epi16(_mm_packus_epi32(whole, whole), whole));
        memcpy(into + i * LANES, &four, sizeof four);
        lengths = _mm256_add_pd(lengths, _mm256_mul_pd(steps, steps));
        offs = _mm256_add_pd(offs, _mm256_mul_pd(apart, apart));
    }
    double length = sum_of(lengths), off = sum_of(offs);
    for (; i < rounded->d; i++) {
        double scaled = (double)row[i] / rounded->scales[i], step = rint(scaled), apart = scaled - step;
        into[i / 4 * 4 * LANES + i % 4] = (uint8_t)((int)step + MIDDLE);
        length += step * step;
        off += apart * apart;
    }
    rounded->longest = larger(rounded->longest, sqrt(length));
    rounded->most_off = larger(rounded->most_off, sqrt(off));
}

AVX2 void round_rows(Rounded *rounded, uint8_t *into) {
    for (size_t row = 0; row < rounded->n; row++)
        round_row(rounded, rounded->rows + row * rounded->d,
                  into + row / LANES * rounded->quads * LANES * 4 + row % LANES * 4);
}

void round_queries(const Rounding *rounding, int8_t *steps, double *slack) {
    memset(steps, 0, rounding->b * rounding->quads * 4);
    for (size_t q = 0; q < rounding->b; q++)
        slack[q] = round_query(rounding, rounding->queries + q * rounding->d, steps + q * rounding->quads * 4);
}
