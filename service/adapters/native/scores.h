/* Exact scores of pairs of a row and a query. */

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const float *matrix;    /* (n, d) */
    const float *queries;   /* (b, d) */
    const int64_t *rows;    /* (pairs,) */
    const int64_t *numbers; /* (pairs,) of the queries */
    size_t d, pairs;
} Pairs;

typedef void Score(const Pairs *pairs, double *scores);

Score score_avx512, score_avx2;
