/* What Python calls of what was found before: kernels.py says what it means. */

#include "module.h"
#include "reaching.h"
#include "standing.h"

#include <stdlib.h>

PyObject *call_reaching(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer matrix = {0}, query = {0};
    double bound;
    if (!PyArg_ParseTuple(arguments, "y*y*d", &matrix, &query, &bound)) return NULL;
    PyObject *found = NULL;
    size_t d = (size_t)query.len / 4, n = d ? (size_t)matrix.len / 4 / d : 0;
    if (expect(d > 0 && n * d * 4 == (size_t)matrix.len, "rows as long as the query")) {
        int64_t *rows = malloc((n + 1) * sizeof *rows);
        PyThreadState *state = n * d < SHORT_WORK ? NULL : PyEval_SaveThread();
        size_t size = rows ? reaching_rows(matrix.buf, n, d, query.buf, bound, rows) : 0;
        if (state) PyEval_RestoreThread(state);
        found = rows ? PyBytes_FromStringAndSize((char *)rows, (Py_ssize_t)(size * sizeof *rows)) : PyErr_NoMemory();
        free(rows);
    }
    PyBuffer_Release(&matrix);
    PyBuffer_Release(&query);
    return found;
}

static PyObject *standing(const List *list) {
    int32_t *slots = malloc((list->n + 1) * sizeof *slots);
    double *scores = malloc((list->n + 1) * sizeof *scores);
    PyObject *both = NULL;
    if (slots && scores) {
        PyThreadState *state = list->rows * list->d < SHORT_WORK ? NULL : PyEval_SaveThread();
        double reached = best_written(list);
        if (state) PyEval_RestoreThread(state);
        Py_ssize_t kept = (Py_ssize_t)standing_places(list, reached, slots, scores);
        both = Py_BuildValue("y#y#", (char *)slots, kept * 4, (char *)scores, kept * 8);
    } else
        PyErr_NoMemory();
    free(slots);
    free(scores);
    return both;
}

PyObject *call_standing(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[5] = {0}; /* slots, scores, when slots were changed, rows that were written, the query */
    long long since, now;
    double longest;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*y*LLd", views, views + 1, views + 2, views + 3, views + 4, &since, &now,
                          &longest))
        return NULL;
    PyObject *both = NULL;
    size_t n = (size_t)views[0].len / 4, d = (size_t)views[4].len / 4, rows = d ? (size_t)views[3].len / 4 / d : 0;
    const int32_t *slots = views[0].buf;
    int sound = 1;
    for (size_t i = 0; i < n; i++) sound &= slots[i] >= 0;
    if (expect(sound && n * 8 == (size_t)views[1].len, "a score for each slot, none of which is below 0") &&
        expect(d > 0 && rows * d * 4 == (size_t)views[3].len, "rows as long as the query")) {
        List list = {slots, views[1].buf, n, views[2].buf, (size_t)views[2].len / 8, since, now,
                     views[3].buf, rows, d, views[4].buf, longest};
        both = standing(&list);
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) PyBuffer_Release(views + i);
    return both;
}
