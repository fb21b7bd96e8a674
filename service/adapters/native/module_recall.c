/* Lists that are made up, as Python calls it: kernels.py says what it means. */

#include "module.h"
#include "made_up.h"
#include "reaching.h"

#include <math.h>
#include <stdlib.h>

/* (slots, scores, places whose score the next one has too). */
static PyObject *told(const Placed *placed, size_t n) {
    PyObject *slots = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n * 4));
    PyObject *scores = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n * 8));
    PyObject *equal = PyList_New(0);
    int sound = slots && scores && equal && tell_places(placed, n, 0, slots, scores, equal);
    PyObject *all = sound ? PyTuple_Pack(3, slots, scores, equal) : NULL;
    Py_XDECREF(slots);
    Py_XDECREF(scores);
    Py_XDECREF(equal);
    return all;
}

static PyObject *made_up(const List *list) {
    double bound = needed(list);
    if (isnan(bound)) Py_RETURN_NONE;
    int64_t *rows = malloc((list->rows + 1) * sizeof *rows), *zeros = malloc((list->rows + 1) * sizeof *zeros);
    double *scores = malloc((list->rows + 1) * sizeof *scores);
    Placed *placed = malloc((list->n + list->rows + 1) * sizeof *placed);
    PyObject *all = NULL;
    if (rows && zeros && scores && placed) {
        PyThreadState *state = list->rows * list->d < SHORT_WORK ? NULL : PyEval_SaveThread();
        size_t reaching = reaching_rows(list->written, list->rows, list->d, list->query, bound, rows);
        if (state) PyEval_RestoreThread(state);
        int64_t size = make_up(list, rows, reaching, zeros, scores, placed);
        all = size < 0 ? Py_NewRef(Py_None) : told(placed, (size_t)size);
    } else
        PyErr_NoMemory();
    free(rows);
    free(zeros);
    free(scores);
    free(placed);
    return all;
}

static int is_sound(const List *list, const Py_buffer *views) {
    int above = 1;
    for (size_t i = 0; i < list->n; i++) above &= list->slots[i] >= 0;
    return expect(above && list->n * 8 == (size_t)views[1].len, "a score for each slot, none of which is below 0") &&
           expect(list->d > 0 && list->rows * list->d * 4 == (size_t)views[3].len, "rows as long as the query") &&
           expect(list->rows * 8 == (size_t)views[5].len && all_below(views + 4, INT32_MAX), "a slot and a count a row") &&
           expect(!list->barred || list->barred_size == 4 || list->barred_size == 8, "slots of four or eight bytes") &&
           expect(list->most > 0, "places to fill");
}

PyObject *call_made_up(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[8] = {0}; /* slots, scores, when slots were changed, written: rows, slots, counts; query, barred */
    const char *name;
    int whole;
    long long since, now;
    double longest;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(arguments, "sy*y*py*LLy*y*y*y*dz*n", &name, views, views + 1, &whole, views + 2, &since, &now,
                          views + 3, views + 4, views + 5, views + 6, &longest, views + 7, &most))
        return NULL;
    PyObject *all = NULL;
    const Kind *kind = kind_of(name);
    size_t barred_size = views[7].obj ? (size_t)views[7].itemsize : 0;
    List list = {views[0].buf, views[1].buf, (size_t)views[0].len / 4, INFINITY, views[2].buf, (size_t)views[2].len / 8,
                 since, now, views[3].buf, views[4].buf, views[5].buf, (size_t)views[4].len / 8,
                 (size_t)views[6].len / 4, views[6].buf, longest, views[7].buf,
                 barred_size ? (size_t)views[7].len / barred_size : 0, barred_size, kind ? kind->score : NULL,
                 most > 0 ? (size_t)most : 0};
    if (kind && is_sound(&list, views)) {
        if (list.n) list.least = list.scores[list.n - 1];
        if (whole) list.least = -INFINITY;
        all = made_up(&list);
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return all;
}

/* Slots as numbers; NULL, and an error, where some are none. */
static int32_t *numbers_of(PyObject *list, size_t n) {
    int32_t *numbers = malloc((n + 1) * sizeof *numbers);
    if (!numbers) PyErr_NoMemory();
    for (size_t i = 0; numbers && i < n; i++) {
        long long number = PyLong_AsLongLong(PyList_GetItem(list, (Py_ssize_t)i));
        numbers[i] = (int32_t)number;
        if (number >= 0 && number <= INT32_MAX) continue;
        if (!PyErr_Occurred()) expect(0, "slots");
        free(numbers);
        numbers = NULL;
    }
    return numbers;
}

static PyObject *held(const List *list) {
    PyThreadState *state = list->rows * list->d < SHORT_WORK ? NULL : PyEval_SaveThread();
    int right = holds(list);
    if (state) PyEval_RestoreThread(state);
    return PyBool_FromLong(right);
}

PyObject *call_holds(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[3] = {0}; /* when slots were changed, rows that were written, the query */
    PyObject *slots, *told = NULL;
    double least, longest;
    long long since;
    Py_ssize_t first;
    if (!PyArg_ParseTuple(arguments, "OdLy*y*ny*d", &slots, &least, &since, views, views + 1, &first, views + 2,
                          &longest))
        return NULL;
    size_t d = (size_t)views[2].len / 4, rows = d ? (size_t)views[1].len / d / 4 : 0;
    int sound = expect(PyList_Check(slots), "a list of slots") &&
                expect(d && rows * d * 4 == (size_t)views[1].len, "rows as long as the query") &&
                expect(first >= 0 && (size_t)first <= rows, "a row to begin with");
    size_t n = sound ? (size_t)PyList_Size(slots) : 0;
    int32_t *numbers = sound ? numbers_of(slots, n) : NULL;
    if (numbers) {
        List list = {.slots = numbers, .n = n, .least = least, .since = since, .d = d, .longest = longest};
        list.changed_at = views[0].buf, list.known = (size_t)views[0].len / 8;
        list.query = views[2].buf;
        list.written = (const float *)views[1].buf + (size_t)first * d, list.rows = rows - (size_t)first;
        told = held(&list);
    }
    free(numbers);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) PyBuffer_Release(views + i);
    return told;
}
