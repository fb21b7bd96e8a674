/* Lists as they are sent, as Python calls it: list_writer.py says what it means. */

#include "module.h"
#include "lists.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 }; /* bytes that come from memory at once */

/* (JSON, cursor) */
static PyObject *told(const Label *labels, size_t n, const char *scores, Py_ssize_t scores_size, char format) {
    size_t all = list_length(labels, n, scores, (size_t)scores_size);
    if (!expect(all != 0, "a score for each label")) return NULL;
    unsigned char *room = malloc(cursor_room(n));
    char *text = malloc(cursor_length(n));
    PyObject *list = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)all), *cursor = NULL;
    if (room && text && list) {
        write_list(labels, n, scores, (size_t)scores_size, PyBytes_AsString(list));
        cursor = PyUnicode_FromStringAndSize(text, (Py_ssize_t)write_cursor(labels, n, format, room, text));
    } else if (list)
        PyErr_NoMemory();
    free(room);
    free(text);
    PyObject *both = cursor ? PyTuple_Pack(2, list, cursor) : NULL;
    Py_XDECREF(list);
    Py_XDECREF(cursor);
    return both;
}

static int take_listed(PyObject *list, size_t n, Label *labels) {
    for (size_t i = 0; i < n; i++) {
        char *bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GetItem(list, (Py_ssize_t)i), &bytes, &size)) return 0;
        if (!expect(label_of(bytes, (size_t)size, labels + i), "hashes, and places for scores")) return 0;
    }
    return 1;
}

PyObject *call_listed(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *list;
    const char *scores;
    Py_ssize_t scores_size;
    char format;
    if (!PyArg_ParseTuple(arguments, "Oy#c", &list, &scores, &scores_size, &format)) return NULL;
    if (!expect(PyList_Check(list), "a list of labels")) return NULL;
    size_t n = (size_t)PyList_Size(list);
    Label *labels = malloc((n + 1) * sizeof *labels);
    if (!labels) return PyErr_NoMemory();
    PyObject *both = take_listed(list, n, labels) ? told(labels, n, scores, scores_size, format) : NULL;
    free(labels);
    return both;
}

/* Where the labels of rows begin, and asks memory for them; 0 where some are not there, -1 and an error for no rows. */
static int take_starts(PyObject *rows, size_t n, const Py_buffer *text, const Py_buffer *starts, const char **where) {
    const int64_t *start = starts->buf;
    for (size_t i = 0; i < n; i++) {
        long long row = PyLong_AsLongLong(PyList_GetItem(rows, (Py_ssize_t)i));
        if (row == -1 && PyErr_Occurred()) return -1;
        if (!expect(row >= 0 && row < starts->len / 8, "rows that there are")) return -1;
        if (!start[row]) return 0;
        if (!expect(start[row] > 0 && start[row] < text->len, "labels within the text")) return -1;
        where[i] = (const char *)text->buf + start[row];
        __builtin_prefetch(where[i]);
        __builtin_prefetch(where[i] + LINE);
    }
    return 1;
}

static int take_sheet(const char *const *where, size_t n, const Py_buffer *text, Label *labels) {
    const char *end = (const char *)text->buf + text->len;
    for (size_t i = 0; i < n; i++) {
        uint32_t size = 0;
        size_t left = (size_t)(end - where[i]);
        int sound = left >= sizeof size;
        if (sound) memcpy(&size, where[i], sizeof size);
        sound = sound && left - sizeof size >= size && label_of(where[i] + sizeof size, size, labels + i);
        if (!expect(sound, "labels within the text")) return 0;
    }
    return 1;
}

PyObject *call_listed_on(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer text = {0}, starts = {0};
    PyObject *rows, *both = NULL;
    const char *scores;
    Py_ssize_t scores_size;
    char format;
    if (!PyArg_ParseTuple(arguments, "y*y*Oy#c", &text, &starts, &rows, &scores, &scores_size, &format)) return NULL;
    int sound = expect(PyList_Check(rows), "a list of rows");
    size_t n = sound ? (size_t)PyList_Size(rows) : 0;
    const char **where = malloc((n + 1) * sizeof *where);
    Label *labels = malloc((n + 1) * sizeof *labels);
    if (sound && where && labels) {
        int there = take_starts(rows, n, &text, &starts, where);
        if (!there) both = Py_NewRef(Py_None);
        if (there > 0 && take_sheet(where, n, &text, labels)) both = told(labels, n, scores, scores_size, format);
    } else if (sound)
        PyErr_NoMemory();
    free(where);
    free(labels);
    PyBuffer_Release(&text);
    PyBuffer_Release(&starts);
    return both;
}
