/* What Python sees: kernels.py says what it means. */

#include "module.h"

#include <string.h>

static const Kind KINDS[] = {{"avx512vnni", pass_vnni, score_avx512}, {"avx2", pass_avx2, score_avx2}};

static int supports(const Kind *kind) {
    if (kind == KINDS) return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const Kind *kind_of(const char *name) {
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

int expect(int sound, const char *what) {
    if (!sound) PyErr_Format(PyExc_ValueError, "expected %s", what);
    return sound;
}

int all_below(const Py_buffer *numbers, size_t end) {
    const int64_t *each = numbers->buf;
    for (Py_ssize_t i = 0; i < numbers->len / 8; i++)
        if (each[i] < 0 || (uint64_t)each[i] >= end) return 0;
    return 1;
}

int tell_places(const Placed *placed, size_t n, size_t from, PyObject *slots, PyObject *scores, PyObject *equal) {
    int32_t *slot = (int32_t *)PyBytes_AsString(slots) + from;
    double *score = (double *)PyBytes_AsString(scores) + from;
    for (size_t i = 0; i < n; i++) {
        slot[i] = (int32_t)placed[i].place;
        score[i] = placed[i].score;
        if (i + 1 == n || placed[i].score != placed[i + 1].score) continue;
        PyObject *place = PyLong_FromSize_t(from + i);
        int failed = !place || PyList_Append(equal, place);
        Py_XDECREF(place);
        if (failed) return 0;
    }
    return 1;
}

static PyMethodDef METHODS[] = {{"holds", call_holds, METH_VARARGS, NULL},
                                {"kinds", kinds, METH_NOARGS, NULL},
                                {"listed", call_listed, METH_VARARGS, NULL},
                                {"made_up", call_made_up, METH_VARARGS, NULL},
                                {"order", call_order, METH_VARARGS, NULL},
                                {"round_rows", call_round_rows, METH_VARARGS, NULL},
                                {"rounded", call_rounded, METH_VARARGS, NULL},
                                {"scan", call_scan, METH_VARARGS, NULL},
                                {"score", call_score, METH_VARARGS, NULL},
                                {"whole", call_whole, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&MODULE); }
