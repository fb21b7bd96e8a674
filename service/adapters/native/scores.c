/* Products of single precision are exact in double precision, and are added in the order in which numpy adds up a row:
 * eight sums side by side, of more than 128 numbers half by half. So scores are numpy's to the last bit.
 */

#include "scores.h"

enum { SUMS = 8, ADDED_AT_ONCE = 128, AHEAD = 4, LINE = 16 };

#define INLINE __attribute__((always_inline)) static inline

INLINE double score_some(const float *row, const float *query, size_t d) {
    double sums[SUMS] = {0}, total = 0;
    size_t i = 0;
    if (d >= SUMS) {
        for (; i + SUMS <= d; i += SUMS)
            for (size_t j = 0; j < SUMS; j++) sums[j] += (double)row[i + j] * (double)query[i + j];
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
    for (; i < d; i++) total += (double)row[i] * (double)query[i];
    return total;
}

/* Halves as long as there are more than are added at once; without recursion, which the compiler could not inline. */
INLINE double score_pair(const float *row, const float *query, size_t d) {
    if (d <= ADDED_AT_ONCE) return score_some(row, query, d);
    double done[64]; /* sums of left halves, and after each whether its right half is being added */
    size_t left[64], depth = 0, start = 0, length = d;
    for (;;) {
        while (length > ADDED_AT_ONCE) {
            size_t half = length / 2 - length / 2 % SUMS;
            left[depth++] = length - half + 1; /* of the right half, and 1: the left one is being added */
            length = half;
        }
        double total = score_some(row + start, query + start, length);
        start += length;
        while (depth && !left[depth - 1]) total += done[--depth];
        if (!depth) return total;
        done[depth - 1] = total;
        length = left[depth - 1] - 1;
        left[depth - 1] = 0;
    }
}

INLINE void score_all(const Pairs *pairs, double *scores) {
    for (size_t i = 0; i < pairs->pairs; i++) {
        if (i + AHEAD < pairs->pairs) {
            const float *ahead = pairs->matrix + (size_t)pairs->rows[i + AHEAD] * pairs->d;
            for (size_t j = 0; j < pairs->d; j += LINE) __builtin_prefetch(ahead + j);
        }
        scores[i] = score_pair(pairs->matrix + (size_t)pairs->rows[i] * pairs->d,
                               pairs->queries + (size_t)pairs->numbers[i] * pairs->d, pairs->d);
    }
}

__attribute__((target("avx512f"))) void score_avx512(const Pairs *pairs, double *scores) { score_all(pairs, scores); }

__attribute__((target("avx2,fma"))) void score_avx2(const Pairs *pairs, double *scores) { score_all(pairs, scores); }
