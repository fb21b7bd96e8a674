/* Which places of a list are right in spite of what was written since. */

#include "standing.h"
#include "reaching.h"

#include <float.h>
#include <math.h>

double best_written(const List *list) {
    if (!list->rows) return -INFINITY;
    double square = 0, d = (double)list->d;
    for (size_t i = 0; i < list->d; i++) square += (double)list->query[i] * list->query[i];
    /* rounding_bound in ranking.py says why */
    double off = (d + 2) * FLT_EPSILON * list->longest * sqrt(square) + d * FLT_MIN;
    double reached = highest_product(list->written, list->rows, list->d, list->query) + off;
    return reached < INFINITY ? reached : INFINITY; /* also where it is no number */
}

size_t standing_places(const List *list, double reached, int32_t *slots, double *scores) {
    size_t kept = 0;
    for (size_t i = 0; i < list->n && list->scores[i] > reached; i++) {
        size_t slot = (size_t)list->slots[i];
        int64_t last = slot < list->known ? list->changed_at[slot] : 0;
        if (last > list->now) break; /* a writer is ahead of what is known of: it may have been changed before, too */
        if (last > list->since) continue; /* it is gone, or among what was written */
        slots[kept] = list->slots[i];
        scores[kept++] = list->scores[i];
    }
    return kept;
}
