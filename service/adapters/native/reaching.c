/* Rows of single precision whose products with a query reach a bound. */

#include "reaching.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>

static const double MOST = 1e37; /* float ends at 3.4e38 */

enum { WIDE = 8, ROWS = 4, NEAR = 1 << 14 }; /* bytes that stay in the nearest cache beside a query */

#define AVX2 __attribute__((target("avx2,fma")))

/* The sums of four times eight numbers. */
AVX2 static inline __m128 sums_of(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

AVX2 static inline __m128 products(const float *query, const float *const rows[ROWS], size_t d) {
    __m256 sums[ROWS];
    size_t i = 0;
    for (size_t r = 0; r < ROWS; r++) sums[r] = _mm256_setzero_ps();
    for (; i + WIDE <= d; i += WIDE) {
        __m256 eight = _mm256_loadu_ps(query + i);
        for (size_t r = 0; r < ROWS; r++) sums[r] = _mm256_fmadd_ps(eight, _mm256_loadu_ps(rows[r] + i), sums[r]);
    }
    __m128 all = sums_of(sums[0], sums[1], sums[2], sums[3]);
    for (; i < d; i++)
        all = _mm_fmadd_ps(_mm_set1_ps(query[i]), _mm_setr_ps(rows[0][i], rows[1][i], rows[2][i], rows[3][i]), all);
    return all;
}

AVX2 size_t reaching_rows(const float *matrix, size_t n, size_t d, const float *query, double bound, int64_t *rows) {
    size_t found = 0;
    for (size_t first = 0; first < n; first += ROWS) {
        const float *four[ROWS]; /* the last one again, where there are no more */
        float scores[ROWS];
        for (size_t r = 0; r < ROWS; r++) four[r] = matrix + (first + r < n ? first + r : n - 1) * d;
        _mm_storeu_ps(scores, products(query, four, d));
        for (size_t r = 0; r < ROWS && first + r < n; r++) {
            rows[found] = (int64_t)(first + r);
            found += !(scores[r] < bound); /* what is no number may be anything */
        }
    }
    return found;
}

static int add_rows(Reached *reached, const int64_t *rows, size_t size, size_t first) {
    if (reached->size + size > reached->room) {
        size_t room = 2 * (reached->size + size);
        int64_t *more = realloc(reached->rows, room * sizeof *more);
        if (!more) return 0;
        reached->rows = more;
        reached->room = room;
    }
    for (size_t i = 0; i < size; i++) reached->rows[reached->size++] = rows[i] + (int64_t)first;
    return 1;
}

int reached_rows(const float *matrix, size_t n, size_t d, const float *queries, const double *bounds, size_t b,
                 Reached *reached) {
    size_t block = NEAR / (d * sizeof *matrix) / ROWS * ROWS;
    if (block < ROWS) block = ROWS;
    int64_t *rows = malloc(block * sizeof *rows);
    int done = rows != NULL;
    for (size_t first = 0; done && first < n; first += block) {
        size_t size = n - first < block ? n - first : block;
        for (size_t q = 0; done && q < b; q++) {
            if (isnan(bounds[q])) continue;
            size_t found = reaching_rows(matrix + first * d, size, d, queries + q * d, bounds[q], rows);
            done = add_rows(reached + q, rows, found, first);
        }
    }
    free(rows);
    return done;
}

double norm_of(const float *query, size_t d) {
    double squares = 0;
    for (size_t i = 0; i < d; i++) squares += (double)query[i] * (double)query[i];
    return sqrt(squares);
}

double off_at_most(size_t d, double longest, double norm) {
    if (!(longest * norm < MOST)) return NAN;
    return (double)(d + 2) * FLT_EPSILON * longest * norm + (double)d * FLT_MIN;
}
