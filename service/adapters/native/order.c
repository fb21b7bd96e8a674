/* Which scores are the best, in order. */

#include "order.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT = 256 }; /* lists so long or shorter are kept in order from the first on */

static int compare(const void *one, const void *other) {
    double a = ((const Placed *)one)->score, b = ((const Placed *)other)->score;
    return (a < b) - (a > b);
}

/* How many of those in order, best first, are at least as good. */
static size_t at_least(const Placed *placed, size_t size, double score) {
    size_t low = 0;
    while (low < size) {
        size_t middle = (low + size) / 2;
        if (placed[middle].score >= score) low = middle + 1;
        else size = middle;
    }
    return low;
}

/* Each goes to its place among those before it, if that is one of the first k or as good. */
static size_t insert_all(Placed *placed, size_t size, size_t k) {
    size_t kept = 0;
    for (size_t i = 0; i < size; i++) {
        const Placed each = placed[i];
        if (kept >= k && each.score < placed[k - 1].score) continue;
        size_t place = at_least(placed, kept, each.score);
        memmove(placed + place + 1, placed + place, (kept - place) * sizeof *placed);
        placed[place] = each;
        kept++;
        while (kept > k && placed[kept - 1].score < placed[k - 1].score) kept--;
    }
    return kept;
}

size_t best_first(Placed *placed, size_t size, size_t k) {
    if (k <= SHORT) return insert_all(placed, size, k);
    if (size) qsort(placed, size, sizeof *placed, compare);
    size_t kept = k < size ? k : size;
    while (kept && kept < size && placed[kept].score == placed[kept - 1].score) kept++;
    return kept;
}
