/* Which rows of a matrix of whole numbers may be among the best of each query.
 *
 * A tile of 64 rows is multiplied with four queries while all sums are in registers, and only what reaches the bound of
 * its query is written down: the k-th best score so far, less the slack, which rises on the way. So nothing of the size
 * of the matrix is written, and Python's lock is given away once.
 *
 * Rows are uint8, sixteen interleaved: of each, four numbers in turn, so that one instruction multiplies and adds four
 * numbers of sixteen rows (VPDPBUSD). Processors without it add products of two in 16 bits, which cuts off what does not
 * fit: queries within -63...63 make 2 * 255 * 63 = 32,130 the most there can be.
 */

#pragma once

#include <stddef.h>
#include <stdint.h>

enum { LANES = 16, VECTORS = 4, TILE = LANES * VECTORS, TOGETHER = 4, MOST_THREADS = 64 };

/* What one query has found. */
typedef struct {
    int32_t *scores;
    uint32_t *rows;
    size_t size, room;
    int32_t bound; /* what must be reached to be kept */
    int lost;      /* too much could be among the best: nothing is kept any more */
    const uint32_t *excluded, *excluded_end; /* those that are still to come, ascending */
} Kept;

typedef struct {
    const uint8_t *rows;   /* (tiles, VECTORS, quads, LANES, 4) */
    const int8_t *queries; /* (b, quads, 4) */
    const double *slack;   /* (b,), how far below the k-th best a score may be that belongs among the best all the same */
    size_t n, quads, b, k, most;
    const uint8_t *shown; /* a bit a row, the lowest of a byte first; NULL = all */
    uint32_t *excluded;   /* rows that single queries may not find, by query and then ascending ... */
    size_t *ends;         /* ... and where those of each query end */
    Kept *kept;           /* (threads, b); in the end what was found of all is in the first b */
    size_t threads;
} Scan;

/* A part of the matrix that one thread looks at. */
typedef struct Part Part;
typedef void Pass(Part *part, size_t first, size_t last);
struct Part {
    const Scan *scan;
    Pass *pass;
    Kept *kept; /* (b,) */
    size_t first, last; /* tiles */
    int failed; /* out of memory */
};

/* What multiplies tiles, by the instructions it needs. */
Pass pass_vnni, pass_avx2;

/* Keeps those of a tile's scores that are told by bits. */
void keep(Part *part, size_t query, size_t tile, const int32_t *scores, uint64_t reaching);

/* Makes what a scan works in, with room for so many pairs that are excluded; 0 = out of memory. */
int begin_scan(Scan *scan, size_t threads, size_t pairs);

/* Takes pairs, ascending by row, out of what may be found; there is room for them, and ends are 0. */
void exclude(Scan *scan, const int64_t *rows, const int64_t *queries, size_t pairs);

/* Looks at all rows; 0 = out of memory. */
int look_at_all(const Scan *scan, Pass *pass);

/* Lets go of what a scan worked in, however far it came. */
void end_scan(Scan *scan);
