/* A list that was found before, made up: without what was changed since, and with what was written since. */

#pragma once

#include "order.h"
#include "scores.h"

typedef struct {
    const int32_t *slots; /* (n,), best first */
    const double *scores; /* theirs */
    size_t n;
    double least;         /* what belongs into the list reaches it; -inf = there are no others, inf = none is known of */
    const int64_t *changed_at; /* (known,) when each slot was changed for the last time; later ones never were */
    size_t known;
    int64_t since, now;   /* when the list was right, and up to when changes are known */
    const float *written; /* (rows, d) of single precision: what was written in between ... */
    const int64_t *written_slots, *counts; /* ... to which slots, and when */
    size_t rows, d;
    const float *query;
    double longest;       /* the largest Euclidean norm of a row */
    const void *barred;   /* (barred_n,) slots that may not be found, of four or eight bytes */
    size_t barred_n, barred_size;
    Score *score;
    size_t most;          /* places that are wanted */
} List;

/* What must be reached to belong into the list; no number where that cannot be told in single precision. */
double needed(const List *list);

/* Whether the list is right now: nothing of it was changed, and nothing that was written can belong into it. It may be
 * even where that is not so. Of what is there of the list, only the slots are looked at.
 */
int holds(const List *list);

/* Puts the places in order, best first, where there is room for n and all rows; of what equals the last one wanted,
 * all are there. Given are the rows that may belong into the list. Returns how many, -1 = it cannot be told.
 */
int64_t make_up(const List *list, int64_t *rows, size_t size, int64_t *zeros, double *scores, Placed *placed);
