/* A whole search: from queries to the best items of both segments, in order, without Python in between. */

#pragma once

#include "order.h"
#include "scan.h"
#include "scores.h"

typedef struct {
    Scan scan;  /* of the main segment */
    Pass *pass;
    Score *score;
    size_t threads, d;
    const float *queries;   /* (b, d) */
    const float *matrix;    /* (n, d), the main segment's rows as they are */
    const int64_t *slots;   /* (n,) of its rows; NULL = the rows are the slots */
    const int64_t *row_of;  /* (slots,) the row of each slot, -1 = it has none; NULL likewise */
    size_t row_of_n;
    const float *later;     /* (later_n, d), the delta's rows */
    const int64_t *later_slots, *later_dead; /* (later_n,), and (dead_n,) its rows that are gone, ascending */
    size_t later_n, dead_n;
    double later_longest;   /* Euclidean norm of one of its rows at most */
    int64_t *barred;        /* slots that single queries may not find, query by query; are put in order ... */
    const size_t *ends;     /* ... and where those of each query end, (b,) */
} Whole;

/* What was found: of each query, in turn, how many; and all of them, each query's best first, by slot. Among them are
 * the k best, and what equals the last of these.
 */
typedef struct {
    int64_t *counts; /* (b,), -1 = nothing can be told */
    Placed *placed;
    size_t size, room;
} Best;

/* Fills in what was found, for whom there is room in counts; 0 = out of memory. */
int search_whole(Whole *whole, Best *best);
