/* Rows of single precision whose products with a query reach a bound. */

#pragma once

#include <stddef.h>
#include <stdint.h>

/* How many rows of (n, d) they are; their numbers, ascending, go to where there is room for n. */
size_t reaching_rows(const float *matrix, size_t n, size_t d, const float *query, double bound, int64_t *rows);

double norm_of(const float *query, size_t d);

/* How far products of single precision can be from the exact ones (ranking.py: rounding_bound), for rows no longer than
 * the longest; no number where so large products might not fit.
 */
double off_at_most(size_t d, double longest, double norm);
