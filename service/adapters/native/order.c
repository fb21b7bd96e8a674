/* Which scores are the best, in order. */

#include "order.h"

#include <stdlib.h>

static int compare(const void *one, const void *other) {
    double a = ((const Placed *)one)->score, b = ((const Placed *)other)->score;
    return (a < b) - (a > b);
}

size_t best_first(Placed *placed, size_t size, size_t k) {
    qsort(placed, size, sizeof *placed, compare);
    size_t kept = k < size ? k : size;
    while (kept && kept < size && placed[kept].score == placed[kept - 1].score) kept++;
    return kept;
}
