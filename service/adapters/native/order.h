/* Which scores are the best, in order. */

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    double score;
    int64_t place;
} Placed;

/* Sorts a query's scores, best first; returns how many are among the k best, all that equal the last of these too. */
size_t best_first(Placed *placed, size_t size, size_t k);
