/* What Python sees: kernels.py says what it means. The limited API: one file for all releases of Python. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "scan.h"
#include "scores.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    Pass *pass;
    Score *score;
} Kind;

static const Kind KINDS[] = {{"avx512vnni", pass_vnni, score_avx512}, {"avx2", pass_avx2, score_avx2}};

static int supports(const Kind *kind) {
    if (kind == KINDS) return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static const Kind *kind_of(const char *name) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (!strcmp(name, KINDS[i].name) && supports(KINDS + i)) return KINDS + i;
    PyErr_Format(PyExc_ValueError, "expected one of kinds(), found %s", name);
    return NULL;
}

static PyObject *kinds(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *found = PyList_New(0);
    for (size_t i = 0; found && i < sizeof KINDS / sizeof *KINDS; i++) {
        PyObject *name = supports(KINDS + i) ? PyUnicode_FromString(KINDS[i].name) : NULL;
        if (name && PyList_Append(found, name)) Py_CLEAR(found);
        Py_XDECREF(name);
    }
    return PyErr_Occurred() ? NULL : found;
}

static int expect(int sound, const char *what) {
    if (!sound) PyErr_Format(PyExc_ValueError, "expected %s", what);
    return sound;
}

static int all_below(const Py_buffer *numbers, size_t end) {
    const int64_t *each = numbers->buf;
    for (Py_ssize_t i = 0; i < numbers->len / 8; i++)
        if (each[i] < 0 || (uint64_t)each[i] >= end) return 0;
    return 1;
}

/* (counts, rows): of each query, in turn, how many rows, -1 = too many; and their numbers, int64. */
static PyObject *found_of(const Scan *scan, const Kept *kept) {
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
    return expect(scan->quads > 0 && scan->k > 0 && scan->n <= UINT32_MAX, "k, quads > 0 and n < 2**32") &&
           expect((size_t)views[0].len >= (scan->n + TILE - 1) / TILE * TILE * scan->quads * 4, "rows of whole tiles") &&
           expect((size_t)views[1].len == scan->b * scan->quads * 4, "as many queries as there is slack") &&
           expect(!views[3].buf || (size_t)views[3].len >= (scan->n + 7) / 8, "a bit for each row") &&
           expect(views[4].len == views[5].len && all_below(views + 4, scan->n) && all_below(views + 5, scan->b),
                  "excluded rows with their queries");
}

static PyObject *scan_views(Scan *scan, const Kind *kind, const Py_buffer *views, size_t threads) {
    size_t pairs = (size_t)views[4].len / 8;
    Kept *kept = calloc(threads * scan->b + 1, sizeof *kept);
    scan->excluded = calloc(pairs + 1, sizeof *scan->excluded);
    scan->ends = calloc(scan->b + 1, sizeof *scan->ends);
    Part parts[MOST_THREADS] = {0};
    parts[0].failed = !kept || !scan->excluded || !scan->ends;
    if (!parts[0].failed) {
        for (size_t i = 0; i < threads; i++) parts[i].kept = kept + i * scan->b;
        Py_BEGIN_ALLOW_THREADS;
        exclude(scan, views[4].buf, views[5].buf, pairs);
        look_at_all(scan, kind->pass, parts, threads);
        Py_END_ALLOW_THREADS;
    }
    PyObject *found = parts[0].failed ? PyErr_NoMemory() : found_of(scan, kept);
    for (size_t i = 0; kept && i < threads * scan->b; i++) {
        free(kept[i].scores);
        free(kept[i].rows);
    }
    free(kept);
    free(scan->excluded);
    free(scan->ends);
    return found;
}

static PyObject *scan(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[6] = {0}; /* rows, queries, slack, shown, excluded, excluded_by */
    const char *name;
    Py_ssize_t n, quads, k, most, threads;
    if (!PyArg_ParseTuple(arguments, "sy*nny*y*nnz*y*y*n", &name, views, &n, &quads, views + 1, views + 2, &k, &most,
                          views + 3, views + 4, views + 5, &threads))
        return NULL;
    PyObject *found = NULL;
    const Kind *kind = kind_of(name);
    Scan scan = {views[0].buf, views[1].buf, views[2].buf, (size_t)n, (size_t)quads, (size_t)views[2].len / 4,
                 (size_t)k, (size_t)most, views[3].buf, NULL, NULL};
    if (kind && expect(n >= 0 && k > 0 && quads > 0 && most >= 0 && threads > 0 && threads <= MOST_THREADS,
                       "sizes, and 1 to 64 threads") &&
        is_sound(&scan, views))
        found = scan_views(&scan, kind, views, (size_t)threads);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return found;
}

static PyObject *score(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer views[4] = {0}; /* matrix, queries, rows, numbers */
    const char *name;
    Py_ssize_t d;
    if (!PyArg_ParseTuple(arguments, "sny*y*y*y*", &name, &d, views, views + 1, views + 2, views + 3)) return NULL;
    PyObject *scores = NULL;
    const Kind *kind = kind_of(name);
    if (kind && expect(d > 0 && views[2].len == views[3].len, "numbers in a row, and a query for each row") &&
        expect(all_below(views + 2, (size_t)(views[0].len / 4 / d)), "rows of the matrix") &&
        expect(all_below(views + 3, (size_t)(views[1].len / 4 / d)), "numbers of queries"))
        scores = PyBytes_FromStringAndSize(NULL, views[2].len);
    if (scores) {
        Pairs pairs = {views[0].buf, views[1].buf, views[2].buf, views[3].buf, (size_t)d, (size_t)views[2].len / 8};
        double *into = (double *)PyBytes_AsString(scores);
        Py_BEGIN_ALLOW_THREADS;
        kind->score(&pairs, into);
        Py_END_ALLOW_THREADS;
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (views[i].obj) PyBuffer_Release(views + i);
    return scores;
}

static PyMethodDef METHODS[] = {{"kinds", kinds, METH_NOARGS, NULL},
                                {"scan", scan, METH_VARARGS, NULL},
                                {"score", score, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&MODULE); }
