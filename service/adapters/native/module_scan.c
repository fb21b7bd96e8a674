/* Looking at all rows, as Python calls it. */

#include "module.h"

/* (counts, rows): of each query, in turn, how many rows, -1 = too many; and their numbers, int64. */
static PyObject *found_of(const Scan *scan) {
    const Kept *kept = scan->kept;
    size_t total = 0;
    for (size_t q = 0; q < scan->b; q++) total += kept[q].lost ? 0 : kept[q].size;
    PyObject *counts = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(scan->b * 8));
    PyObject *rows = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(total * 8));
    if (counts && rows) {
        int64_t *count = (int64_t *)PyBytes_AsString(counts), *row = (int64_t *)PyBytes_AsString(rows);
        for (size_t q = 0; q < scan->b; q++) {
            count[q] = kept[q].lost ? -1 : (int64_t)kept[q].size;
            for (size_t i = 0; !kept[q].lost && i < kept[q].size; i++) *row++ = kept[q].rows[i];
        }
    }
    PyObject *found = counts && rows ? PyTuple_Pack(2, counts, rows) : NULL;
    Py_XDECREF(counts);
    Py_XDECREF(rows);
    return found;
}

static int is_sound(const Scan *scan, const Py_buffer *views) {
    return expect(scan->quads <= MOST_QUADS && scan->k <= MOST_PLACES && scan->n <= UINT32_MAX, "k < 2**31 and n < 2**32") &&
           expect((size_t)views[0].len >= (scan->n + TILE - 1) / TILE * TILE * scan->quads * 4, "rows of whole tiles") &&
           expect((size_t)views[1].len == scan->b * scan->quads * 4, "as many queries as there is slack") &&
           expect(!views[3].buf || (size_t)views[3].len >= (scan->n + 7) / 8, "a bit for each row") &&
           expect(views[4].len == views[5].len && all_below(views + 4, scan->n) && all_below(views + 5, scan->b),
                  "excluded rows with their queries");
}

static PyObject *scan_views(Scan *scan, const Kind *kind, const Py_buffer *views, size_t threads) {
    size_t pairs = (size_t)views[4].len / 8;
    int done = begin_scan(scan, threads, pairs);
    if (done) {
        PyThreadState *state = scan->n * scan->b * scan->quads < SHORT_WORK ? NULL : PyEval_SaveThread();
        exclude(scan, views[4].buf, views[5].buf, pairs);
        done = look_at_all(scan, kind->pass);
        if (state) PyEval_RestoreThread(state);
    }
    PyObject *found = done ? found_of(scan) : PyErr_NoMemory();
    end_scan(scan);
    return found;
}

PyObject *call_scan(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[6] = {0}; /* rows, queries, slack, shown, excluded, excluded_by */
    const char *name;
    Py_ssize_t n, quads, k, most, threads;
    if (!PyArg_ParseTuple(arguments, "sy*nny*y*nnz*y*y*n", &name, views, &n, &quads, views + 1, views + 2, &k, &most,
                          views + 3, views + 4, views + 5, &threads))
        return NULL;
    PyObject *found = NULL;
    const Kind *kind = kind_of(name);
    Scan scan = {views[0].buf, views[1].buf, views[2].buf, (size_t)n, (size_t)quads, (size_t)views[2].len / 8,
                 (size_t)k, (size_t)most, views[3].buf, NULL, NULL, NULL, 0};
    if (kind && expect(n >= 0 && k > 0 && quads > 0 && most >= 0 && threads > 0 && threads <= MOST_THREADS,
                       "sizes, and 1 to 64 threads") &&
        is_sound(&scan, views))
        found = scan_views(&scan, kind, views, (size_t)threads);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return found;
}
