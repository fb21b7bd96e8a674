/* A list that was found before, made up: without what was changed since, and with what was written since. */

#include "made_up.h"
#include "reaching.h"

#include <float.h>
#include <math.h>
#include <string.h>

double needed(const List *list) {
    double off = off_at_most(list->d, list->longest, norm_of(list->query, list->d));
    if (isnan(off)) return off;
    if (list->whole) return -DBL_MAX;
    return list->n ? list->scores[list->n - 1] - off : DBL_MAX; /* of none, nothing is known of what would be first */
}

static int64_t last_change(const List *list, int64_t slot) {
    return (size_t)slot < list->known ? list->changed_at[slot] : 0;
}

static int is_barred(const List *list, int64_t slot) {
    const int32_t *fours = list->barred;
    const int64_t *eights = list->barred;
    for (size_t i = 0; i < list->barred_n; i++)
        if ((list->barred_size == sizeof *fours ? fours[i] : eights[i]) == slot) return 1;
    return 0;
}

/* What was not changed since; -1 = a writer is ahead of what is known of, who may have changed it before, too. */
static int64_t still_there(const List *list, Placed *placed) {
    int64_t size = 0;
    for (size_t i = 0; i < list->n; i++) {
        int64_t last = last_change(list, list->slots[i]);
        if (last > list->now) return -1;
        placed[size].score = list->scores[i];
        placed[size].place = list->slots[i];
        size += last <= list->since;
    }
    return size;
}

/* Those of the rows that hold still and may be found; -1 likewise. */
static int64_t alive(const List *list, int64_t *rows, size_t size) {
    int64_t left = 0;
    for (size_t i = 0; i < size; i++) {
        int64_t row = rows[i], slot = list->written_slots[row], last = last_change(list, slot);
        if (last > list->now) return -1;
        rows[left] = row;
        left += last == list->counts[row] && !is_barred(list, slot);
    }
    return left;
}

int64_t make_up(const List *list, int64_t *rows, size_t size, int64_t *zeros, double *scores, Placed *placed) {
    int64_t there = still_there(list, placed), new = alive(list, rows, size);
    if (there < 0 || new < 0) return -1;
    memset(zeros, 0, (size_t)new * sizeof *zeros);
    Pairs pairs = {list->written, list->query, rows, zeros, list->d, (size_t)new};
    list->score(&pairs, scores);
    double least = list->whole ? -INFINITY : list->n ? list->scores[list->n - 1] : INFINITY;
    for (int64_t i = 0; i < new; i++) {
        if (isnan(scores[i])) return -1;
        placed[there].score = scores[i] + 0.0; /* no -0.0 */
        placed[there].place = list->written_slots[rows[i]];
        there += scores[i] >= least;
    }
    return (int64_t)best_first(placed, (size_t)there, list->most);
}
