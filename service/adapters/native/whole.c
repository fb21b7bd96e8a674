#include "whole.h"

#include "reaching.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one query after the other is worked out in. */
typedef struct {
    int64_t *rows, *numbers;
    double *scores;
    size_t room;
} Desk;

static int ascending(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static int ascending_rows(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static int is_among(const int64_t *numbers, size_t size, int64_t number) {
    size_t low = 0, high = size;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (numbers[middle] < number) low = middle + 1;
        else high = middle;
    }
    return low < size && numbers[low] == number;
}

static size_t first_of(const size_t *ends, size_t query) { return query ? ends[query - 1] : 0; }

/* The rows of what single queries may not find, as the scan wants them. */
static void bar_rows(Whole *whole) {
    Scan *scan = &whole->scan;
    size_t size = 0;
    for (size_t q = 0; q < scan->b; q++) {
        size_t first = size, start = first_of(whole->ends, q), end = whole->ends[q];
        for (size_t i = start; i < end; i++) {
            int64_t slot = whole->barred[i], row = slot;
            if (whole->row_of) row = slot >= 0 && (size_t)slot < whole->row_of_n ? whole->row_of[slot] : -1;
            if (row >= 0 && (size_t)row < scan->n) scan->excluded[size++] = (uint32_t)row;
        }
        scan->ends[q] = size;
        if (start == end) continue;
        qsort(scan->excluded + first, size - first, sizeof *scan->excluded, ascending_rows);
        if (whole->later_n) qsort(whole->barred + start, end - start, sizeof *whole->barred, ascending);
    }
}

static int make_desk(Desk *desk, size_t room) {
    if (room <= desk->room) return 1;
    free(desk->rows);
    free(desk->numbers);
    free(desk->scores);
    desk->rows = malloc(room * sizeof *desk->rows);
    desk->numbers = malloc(room * sizeof *desk->numbers);
    desk->scores = malloc(room * sizeof *desk->scores);
    desk->room = room;
    return desk->rows && desk->numbers && desk->scores;
}

static int make_room(Best *best, size_t more) {
    if (best->size + more <= best->room) return 1;
    size_t room = 2 * (best->size + more);
    Placed *placed = realloc(best->placed, room * sizeof *placed);
    if (!placed) return 0;
    best->placed = placed;
    best->room = room;
    return 1;
}

/* Exact scores of the rows on the desk. */
static void score_rows(const Whole *whole, const Desk *desk, const float *matrix, size_t query, size_t size) {
    for (size_t i = 0; i < size; i++) desk->numbers[i] = (int64_t)query;
    Pairs pairs = {matrix, whole->queries, desk->rows, desk->numbers, whole->d, size};
    whole->score(&pairs, desk->scores);
}

static size_t best_of_main(const Whole *whole, const Desk *desk, size_t query, const Kept *kept, Placed *placed) {
    for (size_t i = 0; i < kept->size; i++) desk->rows[i] = kept->rows[i];
    score_rows(whole, desk, whole->matrix, query, kept->size);
    for (size_t i = 0; i < kept->size; i++) {
        placed[i].score = desk->scores[i] + 0.0; /* no -0.0 */
        placed[i].place = whole->slots ? whole->slots[desk->rows[i]] : desk->rows[i];
    }
    return best_first(placed, kept->size, whole->scan.k);
}

static int rank(const Whole *whole, Desk *desk, Best *best) {
    const Kept *kept = whole->scan.kept;
    for (size_t q = 0; q < whole->scan.b; q++) {
        best->counts[q] = -1;
        if (kept[q].lost || !isfinite(norm_of(whole->queries + q * whole->d, whole->d))) continue;
        if (!make_desk(desk, kept[q].size + 1) || !make_room(best, kept[q].size)) return 0;
        size_t size = best_of_main(whole, desk, q, kept + q, best->placed + best->size);
        best->counts[q] = (int64_t)size;
        best->size += size;
    }
    return 1;
}

/* What must be reached to be as good as the best of the main segment; no number where it cannot be told. */
static void find_bounds(const Whole *whole, const Best *best, double *bounds) {
    const Placed *placed = best->placed;
    size_t k = whole->scan.k;
    for (size_t q = 0; q < whole->scan.b; q++) {
        bounds[q] = NAN;
        if (best->counts[q] < 0) continue;
        double norm = norm_of(whole->queries + q * whole->d, whole->d);
        size_t size = (size_t)best->counts[q];
        bounds[q] = (size < k ? -INFINITY : placed[k - 1].score) - off_at_most(whole->d, whole->later_longest, norm);
        placed += size;
    }
}

/* The rows that a query may find; returns how many are left on the desk. */
static size_t take_alive(const Whole *whole, const Desk *desk, size_t query, const Reached *reached) {
    size_t start = first_of(whole->ends, query), barred = whole->ends[query] - start, left = 0;
    for (size_t i = 0; i < reached->size; i++) {
        int64_t row = reached->rows[i];
        desk->rows[left] = row;
        left += (size_t)(!is_among(whole->later_dead, whole->dead_n, row) &&
                         !is_among(whole->barred + start, barred, whole->later_slots[row]));
    }
    return left;
}

/* The best of the main segment's and what of the delta reaches them, where there is room; -1 = it cannot be told. */
static int64_t with_later(const Whole *whole, const Desk *desk, size_t query, const Reached *reached, Placed *placed,
                          size_t size) {
    size_t left = take_alive(whole, desk, query, reached);
    score_rows(whole, desk, whole->later, query, left);
    for (size_t i = 0; i < left; i++) {
        if (isnan(desk->scores[i])) return -1;
        placed[size + i].score = desk->scores[i] + 0.0;
        placed[size + i].place = whole->later_slots[desk->rows[i]];
    }
    return (int64_t)(left ? best_first(placed, size + left, whole->scan.k) : size);
}

/* Puts the best of both segments where the best of the main one were. */
static int merge(const Whole *whole, Desk *desk, Best *best, const double *bounds, const Reached *reached) {
    Best both = {best->counts, NULL, 0, 0};
    const Placed *placed = best->placed;
    int done = 1;
    for (size_t q = 0; done && q < whole->scan.b; q++) {
        if (best->counts[q] < 0) continue;
        size_t size = (size_t)best->counts[q];
        done = make_desk(desk, reached[q].size + 1) && make_room(&both, size + reached[q].size);
        if (!done) break;
        Placed *here = both.placed + both.size;
        if (size) memcpy(here, placed, size * sizeof *here);
        placed += size;
        both.counts[q] = isnan(bounds[q]) ? -1 : with_later(whole, desk, q, reached + q, here, size);
        both.size += both.counts[q] < 0 ? 0 : (size_t)both.counts[q];
    }
    free(best->placed);
    *best = both;
    return done;
}

static int add_later(const Whole *whole, Desk *desk, Best *best) {
    size_t b = whole->scan.b;
    double *bounds = malloc((b + 1) * sizeof *bounds);
    Reached *reached = calloc(b + 1, sizeof *reached);
    int done = bounds && reached;
    if (done) {
        find_bounds(whole, best, bounds);
        done = reached_rows(whole->later, whole->later_n, whole->d, whole->queries, bounds, b, reached) &&
               merge(whole, desk, best, bounds, reached);
    }
    for (size_t q = 0; reached && q < b; q++) free(reached[q].rows);
    free(reached);
    free(bounds);
    return done;
}

int search_whole(Whole *whole, Best *best) {
    Scan *scan = &whole->scan;
    Desk desk = {0};
    int done = begin_scan(scan, whole->threads, scan->b ? whole->ends[scan->b - 1] : 0);
    if (done) {
        bar_rows(whole);
        done = look_at_all(scan, whole->pass) && rank(whole, &desk, best);
        if (done && whole->later_n) done = add_later(whole, &desk, best);
    }
    end_scan(scan);
    free(desk.rows);
    free(desk.numbers);
    free(desk.scores);
    return done;
}
