/* Rows of single precision whose products with a query reach a bound, or the highest of these. */

#include "reaching.h"

#include <immintrin.h>
#include <math.h>

enum { WIDE = 8, ROWS = 4 };

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

/* The products of four rows; the last one again, where there are no more. */
AVX2 static inline __m128 products_from(const float *matrix, size_t first, size_t n, size_t d, const float *query) {
    const float *four[ROWS];
    for (size_t r = 0; r < ROWS; r++) four[r] = matrix + (first + r < n ? first + r : n - 1) * d;
    return products(query, four, d);
}

AVX2 size_t reaching_rows(const float *matrix, size_t n, size_t d, const float *query, double bound, int64_t *rows) {
    size_t found = 0;
    for (size_t first = 0; first < n; first += ROWS) {
        float scores[ROWS];
        _mm_storeu_ps(scores, products_from(matrix, first, n, d, query));
        for (size_t r = 0; r < ROWS && first + r < n; r++) {
            rows[found] = (int64_t)(first + r);
            found += !(scores[r] < bound); /* what is no number may be anything */
        }
    }
    return found;
}

AVX2 double highest_product(const float *matrix, size_t n, size_t d, const float *query) {
    __m128 highest = _mm_set1_ps(-INFINITY), nothing = _mm_setzero_ps(); /* 0, as long as all are finite */
    for (size_t first = 0; first < n; first += ROWS) {
        __m128 four = products_from(matrix, first, n, d, query);
        highest = _mm_max_ps(highest, four);
        nothing = _mm_add_ps(nothing, _mm_sub_ps(four, four));
    }
    float most[ROWS], left[ROWS];
    _mm_storeu_ps(most, highest);
    _mm_storeu_ps(left, nothing);
    for (size_t r = 0; r < ROWS; r++) {
        if (left[r] != 0) return INFINITY; /* it is no number */
        most[0] = most[r] > most[0] ? most[r] : most[0];
    }
    return most[0];
}
