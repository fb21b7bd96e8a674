/* Rows of single precision whose products with a query reach a bound. */

#pragma once

#include <stddef.h>
#include <stdint.h>

/* How many rows of (n, d) they are; their numbers, ascending, go to where there is room for n. */
size_t reaching_rows(const float *matrix, size_t n, size_t d, const float *query, double bound, int64_t *rows);

/* Numbers of rows, ascending. */
typedef struct {
    int64_t *rows;
    size_t size, room;
} Reached;

/* The same for many queries, (b, d), with a bound for each, none for those that are no numbers: some rows after the other
 * are looked at for all, so that each comes from memory once. Adds to what there is; 0 = out of memory.
 */
int reached_rows(const float *matrix, size_t n, size_t d, const float *queries, const double *bounds, size_t b,
                 Reached *reached);

double norm_of(const float *query, size_t d);

/* How far products of single precision can be from the exact ones (ranking.py: rounding_bound), for rows no longer than
 * the longest; no number where so large products might not fit.
 */
double off_at_most(size_t d, double longest, double norm);
