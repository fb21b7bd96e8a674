/* Rows and queries in whole numbers: integer_rows.py says why, and what the bounds are. */

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const float *queries; /* (b, d) */
    const double *scales; /* (d,) */
    double longest, most_off, rounding;
    size_t b, d, quads;
} Rounding;

/* Rows (n, d) to be rounded, from one that is a multiple of LANES on. */
typedef struct {
    const float *rows;
    const double *scales; /* (d,) */
    size_t n, d, quads;
    double longest, most_off; /* of those rounded so far: the largest norms of whole numbers, and of what is left */
} Rounded;

/* Writes rows as scan.h has them to where the first of them goes; what fills them up stays as it is. */
void round_rows(Rounded *rounded, uint8_t *into);

/* Steps (b, 4 * quads), what fills them up is 0, and slack (b,). */
void round_queries(const Rounding *rounding, int8_t *steps, double *slack);
