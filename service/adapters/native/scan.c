/* What of the scores is kept, and who looks at which rows. */

#include "scan.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Both kinds of processors have these instructions. */
#define AVX2 __attribute__((target("avx2")))

enum { BLOCK = 4, LEAST_ROOM = 256 };

/* Whether a row may not be found; of one query's rows, each is asked for after those before it. */
static int is_hidden(const Scan *scan, Kept *kept, size_t row) {
    if (row >= scan->n || (scan->shown && !(scan->shown[row >> 3] >> (row & 7) & 1))) return 1;
    while (kept->excluded < kept->excluded_end && *kept->excluded < row) kept->excluded++;
    return kept->excluded < kept->excluded_end && *kept->excluded == row;
}

/* The largest number that k scores reach; by halving what is left, so that no order of theirs is a bad one. */
AVX2 static int32_t kth_largest(const int32_t *scores, size_t size, size_t k) {
    int64_t low = INT32_MAX, high = INT32_MIN;
    for (size_t i = 0; i < size; i++) {
        low = scores[i] < low ? scores[i] : low;
        high = scores[i] > high ? scores[i] : high;
    }
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        size_t reaching = 0;
        for (size_t i = 0; i < size; i++) reaching += scores[i] >= (int32_t)middle;
        if (reaching >= k) low = middle;
        else high = middle - 1;
    }
    return (int32_t)low;
}

/* Raises the bound and lets go of what does not reach it. */
AVX2 static void tighten(Kept *kept, size_t k, double slack) {
    if (kept->size < k) return;
    double bound = ceil(kth_largest(kept->scores, kept->size, k) - slack);
    if (bound > kept->bound) kept->bound = (int32_t)bound;
    size_t left = 0;
    for (size_t i = 0; i < kept->size; i++) {
        kept->scores[left] = kept->scores[i];
        kept->rows[left] = kept->rows[i];
        left += kept->scores[i] >= kept->bound;
    }
    kept->size = left;
}

static int grow(Kept *kept, size_t room) {
    int32_t *scores = realloc(kept->scores, room * sizeof *scores);
    if (scores) kept->scores = scores;
    uint32_t *rows = realloc(kept->rows, room * sizeof *rows);
    if (rows) kept->rows = rows;
    if (scores && rows) kept->room = room;
    return scores && rows;
}

static void make_room(Part *part, size_t query) {
    const Scan *scan = part->scan;
    Kept *kept = part->kept + query;
    tighten(kept, scan->k, scan->slack[query]);
    if (kept->size > scan->most) {
        kept->lost = 1;
        kept->size = 0;
        kept->bound = INT32_MAX; /* which no score is */
    } else if (2 * kept->size > kept->room && !grow(kept, 2 * kept->room)) {
        part->failed = 1;
    }
}

void keep(Part *part, size_t query, size_t tile, const int32_t *scores, uint64_t reaching) {
    Kept *kept = part->kept + query;
    for (; reaching; reaching &= reaching - 1) {
        size_t place = (size_t)__builtin_ctzll(reaching), row = tile * TILE + place;
        if (is_hidden(part->scan, kept, row)) continue;
        if (kept->size == kept->room) make_room(part, query);
        if (part->failed || kept->lost) return;
        kept->scores[kept->size] = scores[place];
        kept->rows[kept->size++] = (uint32_t)row;
    }
}

void exclude(Scan *scan, const int64_t *rows, const int64_t *queries, size_t pairs) {
    for (size_t i = 0; i < pairs; i++) scan->ends[queries[i]]++;
    for (size_t q = 0, end = 0; q < scan->b; q++) {
        size_t many = scan->ends[q];
        scan->ends[q] = end; /* where the next one goes */
        end += many;
    }
    for (size_t i = 0; i < pairs; i++) scan->excluded[scan->ends[queries[i]]++] = (uint32_t)rows[i];
}

/* Some tiles at a time, which stay in the first cache while all queries look at them. */
static void *look(void *argument) {
    Part *part = argument;
    for (size_t q = 0; q < part->scan->b; q++) {
        Kept *kept = part->kept + q;
        kept->bound = INT32_MIN;
        kept->excluded = part->scan->excluded + (q ? part->scan->ends[q - 1] : 0);
        kept->excluded_end = part->scan->excluded + part->scan->ends[q];
        part->failed |= !grow(kept, part->scan->k < LEAST_ROOM / 4 ? LEAST_ROOM : 4 * part->scan->k);
    }
    for (size_t tile = part->first; tile < part->last && !part->failed; tile += BLOCK)
        part->pass(part, tile, tile + BLOCK < part->last ? tile + BLOCK : part->last);
    return NULL;
}

/* Takes what a part has found to what the first has. */
static void join(Part *to, const Part *from) {
    for (size_t q = 0; q < to->scan->b && !to->failed; q++) {
        Kept *kept = to->kept + q;
        const Kept *more = from->kept + q;
        kept->lost |= more->lost;
        size_t size = kept->size + more->size;
        if (size > kept->room && !grow(kept, size)) {
            to->failed = 1;
            return;
        }
        memcpy(kept->scores + kept->size, more->scores, more->size * sizeof *more->scores);
        memcpy(kept->rows + kept->size, more->rows, more->size * sizeof *more->rows);
        kept->size = size;
    }
}

int begin_scan(Scan *scan, size_t threads, size_t pairs) {
    scan->threads = threads;
    scan->kept = calloc(threads * scan->b + 1, sizeof *scan->kept);
    scan->excluded = malloc((pairs + 1) * sizeof *scan->excluded);
    scan->ends = calloc(scan->b + 1, sizeof *scan->ends);
    return scan->kept && scan->excluded && scan->ends;
}

int look_at_all(const Scan *scan, Pass *pass) {
    size_t tiles = (scan->n + TILE - 1) / TILE, threads = scan->threads;
    Part parts[MOST_THREADS] = {0};
    pthread_t running[MOST_THREADS];
    int started[MOST_THREADS] = {0};
    for (size_t i = 0; i < threads; i++) {
        Part part = {scan, pass, scan->kept + i * scan->b, tiles * i / threads, tiles * (i + 1) / threads, 0};
        parts[i] = part;
        if (i) started[i] = !pthread_create(running + i, NULL, look, parts + i);
    }
    look(parts);
    for (size_t i = 1; i < threads; i++) {
        if (started[i]) pthread_join(running[i], NULL);
        else look(parts + i);
        parts[0].failed |= parts[i].failed;
        join(parts, parts + i);
    }
    for (size_t q = 0; q < scan->b && !parts[0].failed; q++) tighten(scan->kept + q, scan->k, scan->slack[q]);
    return !parts[0].failed;
}

void end_scan(Scan *scan) {
    for (size_t i = 0; scan->kept && i < scan->threads * scan->b; i++) {
        free(scan->kept[i].scores);
        free(scan->kept[i].rows);
    }
    free(scan->kept);
    free(scan->excluded);
    free(scan->ends);
}
