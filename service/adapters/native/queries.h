/* Queries in whole numbers: integer_rows.py says why, and what the bounds are. */

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const float *queries; /* (b, d) */
    const double *scales; /* (d,) */
    double longest, most_off, rounding;
    size_t b, d, quads;
} Rounding;

/* Steps (b, 4 * quads), what fills them up is 0, and slack (b,). */
void round_queries(const Rounding *rounding, int8_t *steps, double *slack);
