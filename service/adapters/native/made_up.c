/* A list that was found before, made up: without what was changed since, and with what was written since. */

#include "made_up.h"
#include "reaching.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64 }; /* rows that are looked at before it is asked whether that was enough */

double needed(const List *list) {
    return list->least - off_at_most(list->d, list->longest, norm_of(list->query, list->d));
}

static int64_t last_change(const List *list, int64_t slot) {
    return (size_t)slot < list->known ? list->changed_at[slot] : 0;
}

int holds(const List *list) {
    for (size_t i = 0; i < list->n; i++)
        if (last_change(list, list->slots[i]) > list->since) return 0;
    double bound = needed(list);
    if (isnan(bound)) return 0;
    for (size_t first = 0; first < list->rows; first += BLOCK) {
        int64_t rows[BLOCK];
        size_t size = list->rows - first < BLOCK ? list->rows - first : BLOCK;
        if (reaching_rows(list->written + first * list->d, size, list->d, list->query, bound, rows)) return 0;
    }
    return 1;
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
    for (int64_t i = 0; i < new; i++) {
        if (isnan(scores[i])) return -1;
        placed[there].score = scores[i] + 0.0; /* no -0.0 */
        placed[there].place = list->written_slots[rows[i]];
        there += scores[i] >= list->least;
    }
    return (int64_t)best_first(placed, (size_t)there, list->most);
}
