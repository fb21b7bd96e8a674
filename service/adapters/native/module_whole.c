/* A whole search, as Python calls it. */

#include "module.h"

#include "queries.h"
#include "whole.h"

#include <stdlib.h>
#include <string.h>

/* Takes what is asked, (vector, slots that may not be found) each, into arrays of its own. */
typedef struct {
    float *queries;
    int64_t *barred;
    size_t *ends;
    size_t room;
} Asks;

static int take_slots(Asks *asks, size_t start, const Py_buffer *view) {
    size_t size = (size_t)(view->len / view->itemsize);
    if (!size) return 1;
    if (start + size > asks->room) {
        size_t room = 2 * (start + size);
        int64_t *barred = realloc(asks->barred, room * sizeof *barred);
        if (!barred) return PyErr_NoMemory() != NULL;
        asks->barred = barred;
        asks->room = room;
    }
    if (view->itemsize == sizeof *asks->barred)
        memcpy(asks->barred + start, view->buf, (size_t)view->len);
    else
        for (size_t i = 0; i < size; i++) asks->barred[start + i] = ((const int32_t *)view->buf)[i];
    return 1;
}

static int take_ask(Asks *asks, size_t number, size_t d, PyObject *ask) {
    Py_buffer vector = {0}, slots = {0};
    if (!PyArg_ParseTuple(ask, "y*y*", &vector, &slots)) return 0;
    size_t start = number ? asks->ends[number - 1] : 0;
    int sound = expect((size_t)vector.len == d * sizeof(float), "vectors as long as the rows") &&
                expect(slots.itemsize == 4 || slots.itemsize == 8, "slots of four or eight bytes") &&
                take_slots(asks, start, &slots);
    if (sound) {
        memcpy(asks->queries + number * d, vector.buf, (size_t)vector.len);
        asks->ends[number] = start + (size_t)(slots.len / slots.itemsize);
    }
    PyBuffer_Release(&vector);
    PyBuffer_Release(&slots);
    return sound;
}

static int take_asks(Asks *asks, size_t d, PyObject *list) {
    size_t b = (size_t)PyList_Size(list);
    asks->queries = malloc((b * d + 1) * sizeof *asks->queries);
    asks->ends = calloc(b + 1, sizeof *asks->ends);
    if (!asks->queries || !asks->ends) return PyErr_NoMemory() != NULL;
    for (size_t i = 0; i < b; i++)
        if (!take_ask(asks, i, d, PyList_GetItem(list, (Py_ssize_t)i))) return 0;
    return 1;
}

/* (counts int64, slots int32, scores float64, places int64 whose score the next one of the same query has too) */
static PyObject *told(const Best *best, size_t b) {
    PyObject *counts = PyBytes_FromStringAndSize((const char *)best->counts, (Py_ssize_t)(b * 8));
    PyObject *slots = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(best->size * 4));
    PyObject *scores = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(best->size * 8));
    PyObject *equal = PyList_New(0);
    int sound = counts && slots && scores && equal;
    for (size_t q = 0, from = 0; sound && q < b; q++) {
        size_t n = best->counts[q] > 0 ? (size_t)best->counts[q] : 0;
        sound = tell_places(best->placed + from, n, from, slots, scores, equal);
        from += n;
    }
    PyObject *all = sound ? PyTuple_Pack(4, counts, slots, scores, equal) : NULL;
    Py_XDECREF(counts);
    Py_XDECREF(slots);
    Py_XDECREF(scores);
    Py_XDECREF(equal);
    return all;
}

static PyObject *search(Whole *whole, const Rounding *scales, Asks *asks) {
    Scan *scan = &whole->scan;
    size_t b = scan->b, quads = scan->quads;
    int8_t *steps = malloc(b * quads * 4 + 1);
    double *slack = malloc((b + 1) * sizeof *slack);
    Best best = {malloc((b + 1) * sizeof *best.counts), NULL, 0, 0};
    int done = steps && slack && best.counts;
    if (done) {
        Rounding rounding = *scales;
        rounding.queries = whole->queries = asks->queries;
        rounding.b = b;
        scan->queries = steps;
        scan->slack = slack;
        whole->barred = asks->barred;
        whole->ends = asks->ends;
        PyThreadState *state = scan->n * b * quads < SHORT_WORK ? NULL : PyEval_SaveThread();
        round_queries(&rounding, steps, slack);
        done = search_whole(whole, &best);
        if (state) PyEval_RestoreThread(state);
    }
    PyObject *all = done ? told(&best, b) : PyErr_NoMemory();
    free(steps);
    free(slack);
    free(best.counts);
    free(best.placed);
    return all;
}

static int is_sound(const Whole *whole, const Rounding *scales, const Py_buffer *views) {
    const Scan *scan = &whole->scan;
    size_t n = scan->n, d = whole->d;
    return expect(scan->k <= MOST_PLACES && scan->quads <= MOST_QUADS && n < INT32_MAX, "k, n < 2**31") &&
           expect(scan->quads == (d + 3) / 4 && scales->d == d, "a scale for each number") &&
           expect(whole->threads > 0 && whole->threads <= MOST_THREADS, "1 to 64 threads") &&
           expect((size_t)views[0].len >= (n + TILE - 1) / TILE * TILE * scan->quads * 4, "rows of whole tiles") &&
           expect((size_t)views[1].len == n * d * 4, "the rows as they are") &&
           expect(!views[3].buf || (size_t)views[3].len >= (n + 7) / 8, "a bit for each row") &&
           expect(!views[4].buf || (size_t)views[4].len == n * 8, "a slot for each row") &&
           expect((size_t)views[6].len == whole->later_n * d * 4, "a slot for each later row") &&
           expect(all_below(views + 8, whole->later_n), "later rows that are gone");
}

PyObject *call_whole(PyObject *module, PyObject *arguments) {
    (void)module;
    /* rows in whole numbers, rows, scales, shown, slots, row of each slot, later rows, their slots, those gone */
    Py_buffer views[9] = {0};
    const char *name;
    PyObject *list;
    Py_ssize_t threads, k, most;
    Rounding scales = {0};
    Whole whole = {0};
    if (!PyArg_ParseTuple(arguments, "sny*y*y*dddz*z*z*y*y*y*dnnO", &name, &threads, views, views + 1, views + 2,
                          &scales.longest, &scales.most_off, &scales.rounding, views + 3, views + 4, views + 5,
                          views + 6, views + 7, views + 8, &whole.later_longest, &k, &most, &list))
        return NULL;
    PyObject *found = NULL;
    Asks asks = {0};
    const Kind *kind = kind_of(name);
    size_t d = (size_t)views[2].len / 8;
    if (kind && expect(d > 0 && PyList_Check(list) && threads > 0 && k > 0 && most >= 0, "scales and a list of asks")) {
        size_t quads = (d + 3) / 4, n = (size_t)views[1].len / 4 / d;
        Scan scan = {views[0].buf, NULL, NULL, n, quads, (size_t)PyList_Size(list), (size_t)k, (size_t)most,
                     views[3].buf, NULL, NULL, NULL, 0};
        scales.scales = views[2].buf;
        scales.d = whole.d = d;
        scales.quads = quads;
        whole.scan = scan;
        whole.pass = kind->pass;
        whole.score = kind->score;
        whole.threads = (size_t)threads;
        whole.matrix = views[1].buf;
        whole.slots = views[4].buf;
        whole.row_of = views[5].buf;
        whole.row_of_n = (size_t)views[5].len / 8;
        whole.later = views[6].buf;
        whole.later_slots = views[7].buf;
        whole.later_n = (size_t)views[7].len / 8;
        whole.later_dead = views[8].buf;
        whole.dead_n = (size_t)views[8].len / 8;
        if (is_sound(&whole, &scales, views) && take_asks(&asks, d, list)) found = search(&whole, &scales, &asks);
    }
    free(asks.queries);
    free(asks.barred);
    free(asks.ends);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return found;
}
