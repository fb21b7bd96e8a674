/* Which places of a list are right in spite of what was written since. */

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const int32_t *slots; /* (n,), best first */
    const double *scores; /* theirs */
    size_t n;
    const int64_t *changed_at; /* (known,) when each slot was changed for the last time; later ones never were */
    size_t known;
    int64_t since, now; /* when the list was right, and what is known of */
    const float *written; /* (rows, d) of single precision: what was written in between */
    size_t rows, d;
    const float *query;
    double longest; /* the largest Euclidean norm of a row */
} List;

/* What no exact score of what was written is beyond; infinite where that cannot be told. */
double best_written(const List *list);

/* How many places beyond ``reached`` are right; their slots and scores go to where there is room for all. */
size_t standing_places(const List *list, double reached, int32_t *slots, double *scores);
