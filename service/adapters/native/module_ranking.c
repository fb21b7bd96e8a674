/* Exact scores, their order, and queries in whole numbers, as Python calls them. */

#include "module.h"

#include "order.h"
#include "queries.h"

#include <stdlib.h>

PyObject *call_score(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[4] = {0}; /* matrix, queries, rows, numbers */
    const char *name;
    Py_ssize_t d;
    if (!PyArg_ParseTuple(arguments, "sny*y*y*y*", &name, &d, views, views + 1, views + 2, views + 3)) return NULL;
    PyObject *scores = NULL;
    const Kind *kind = kind_of(name);
    if (kind && expect(d > 0 && views[2].len == views[3].len && views[2].len % 8 == 0, "numbers in a row, a query a row") &&
        expect(all_below(views + 2, (size_t)(views[0].len / 4 / d)), "rows of the matrix") &&
        expect(all_below(views + 3, (size_t)(views[1].len / 4 / d)), "numbers of queries"))
        scores = PyBytes_FromStringAndSize(NULL, views[2].len);
    if (scores) {
        Pairs pairs = {views[0].buf, views[1].buf, views[2].buf, views[3].buf, (size_t)d, (size_t)views[2].len / 8};
        double *into = (double *)PyBytes_AsString(scores);
        PyThreadState *state = pairs.pairs * pairs.d < SHORT_WORK ? NULL : PyEval_SaveThread();
        kind->score(&pairs, into);
        if (state) PyEval_RestoreThread(state);
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return scores;
}

PyObject *call_rounded(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer queries = {0}, scales = {0};
    Rounding rounding = {0};
    if (!PyArg_ParseTuple(arguments, "y*y*ddd", &queries, &scales, &rounding.longest, &rounding.most_off,
                          &rounding.rounding))
        return NULL;
    rounding.queries = queries.buf;
    rounding.scales = scales.buf;
    rounding.d = (size_t)scales.len / 8;
    rounding.quads = (rounding.d + 3) / 4;
    PyObject *steps = NULL, *slack = NULL, *both = NULL;
    if (expect(rounding.d && (size_t)queries.len % (rounding.d * 4) == 0, "queries as long as the scales")) {
        rounding.b = (size_t)queries.len / (rounding.d * 4);
        steps = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(rounding.b * rounding.quads * 4));
        slack = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(rounding.b * 8));
    }
    if (steps && slack) {
        round_queries(&rounding, (int8_t *)PyBytes_AsString(steps), (double *)PyBytes_AsString(slack));
        both = PyTuple_Pack(2, steps, slack);
    }
    Py_XDECREF(steps);
    Py_XDECREF(slack);
    PyBuffer_Release(&queries);
    PyBuffer_Release(&scales);
    return both;
}

PyObject *call_round_rows(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[3] = {0}; /* rows, scales, where they go */
    Py_ssize_t start;
    if (!PyArg_ParseTuple(arguments, "y*y*w*n", views, views + 1, views + 2, &start)) return NULL;
    size_t d = (size_t)views[1].len / 8, quads = (d + 3) / 4, n = d ? (size_t)views[0].len / 4 / d : 0;
    size_t room = d ? (size_t)views[2].len / (quads * 4) : 0; /* rows */
    PyObject *both = NULL;
    if (expect(d > 0 && n * d * 4 == (size_t)views[0].len, "rows as long as the scales") &&
        expect(start >= 0 && start % LANES == 0 && (size_t)start + n <= room && room % LANES == 0, "room for the rows")) {
        Rounded rounded = {views[0].buf, views[1].buf, n, d, quads, 0, 0};
        PyThreadState *state = n * d < SHORT_WORK ? NULL : PyEval_SaveThread();
        round_rows(&rounded, (uint8_t *)views[2].buf + (size_t)start * quads * 4);
        if (state) PyEval_RestoreThread(state);
        both = Py_BuildValue("dd", rounded.longest, rounded.most_off);
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) PyBuffer_Release(views + i);
    return both;
}

/* The places of what is best of each query, as the numbers of queries ascend. */
static PyObject *order_of(const Py_buffer *numbers, const Py_buffer *scores, size_t k, Placed *placed) {
    const int64_t *number = numbers->buf;
    const double *score = scores->buf;
    size_t pairs = (size_t)scores->len / 8, kept = 0;
    for (size_t first = 0, end; first < pairs; first = end) {
        Placed *mine = placed + kept;
        for (end = first; end < pairs && number[end] == number[first]; end++) {
            mine[end - first].score = score[end];
            mine[end - first].place = (int64_t)end;
        }
        kept += best_first(mine, end - first, k);
    }
    PyObject *order = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(kept * 8));
    for (size_t i = 0; order && i < kept; i++) ((int64_t *)PyBytes_AsString(order))[i] = placed[i].place;
    return order;
}

PyObject *call_order(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer numbers = {0}, scores = {0};
    Py_ssize_t k;
    if (!PyArg_ParseTuple(arguments, "y*y*n", &numbers, &scores, &k)) return NULL;
    PyObject *found = NULL;
    if (expect(numbers.len == scores.len && k > 0, "a query for each score, and k > 0")) {
        Placed *placed = malloc(((size_t)scores.len / 8 + 1) * sizeof *placed);
        found = placed ? order_of(&numbers, &scores, (size_t)k, placed) : PyErr_NoMemory();
        free(placed);
    }
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&scores);
    return found;
}
