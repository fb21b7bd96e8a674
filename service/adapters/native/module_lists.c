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

typedef struct {
    Py_buffer text, starts; /* labels after their lengths; int64, where those of rows begin, 0 = there is none */
} Sheet;

/* The label of its own that a place has; 0 where it has none, -1 and an error where it is no label. */
static int take_own(PyObject *others, size_t place, Label *label) {
    char *bytes;
    Py_ssize_t size;
    PyObject *own = PyList_Check(others) ? PyList_GetItem(others, (Py_ssize_t)place) : Py_None;
    if (Py_IsNone(own)) return 0;
    if (PyBytes_AsStringAndSize(own, &bytes, &size)) return -1;
    return expect(label_of(bytes, (size_t)size, label), "hashes, and places for scores") ? 1 : -1;
}

/* Where the label of a row begins, and asks memory for it; 0 where it has none, -1 and an error where it is no row. */
static int take_start(PyObject *row, const Sheet *sheet, const char **where) {
    const int64_t *starts = sheet->starts.buf;
    /* What else could be taken for a number may run code, which may let go of labels that were taken before. */
    if (!expect(PyLong_CheckExact(row), "rows in whole numbers")) return -1;
    long long number = PyLong_AsLongLong(row);
    if (number == -1 && PyErr_Occurred()) return -1;
    if (!expect(number >= 0 && number < sheet->starts.len / 8, "rows that there are")) return -1;
    int64_t start = starts[number];
    if (!start) return 0;
    if (!expect(start > 0 && start < sheet->text.len, "labels within the text")) return -1;
    *where = (const char *)sheet->text.buf + start;
    __builtin_prefetch(*where);
    __builtin_prefetch(*where + LINE);
    return 1;
}

static int take_label(const char *where, const Sheet *sheet, Label *label) {
    uint32_t size = 0;
    size_t left = (size_t)((const char *)sheet->text.buf + sheet->text.len - where);
    int sound = left >= sizeof size;
    if (sound) memcpy(&size, where, sizeof size);
    return expect(sound && left - sizeof size >= size && label_of(where + sizeof size, size, label),
                  "labels within the text");
}

/* First all look up where they are, then at what is there: so memory is asked for all at once. 0 where some label is
 * not there, -1 and an error where something is wrong.
 */
static int take_labels(PyObject *rows, PyObject *others, size_t n, const Sheet *sheet, const char **where,
                       Label *labels) {
    for (size_t i = 0; i < n; i++) {
        int own = take_own(others, i, labels + i);
        if (own < 0) return -1;
        where[i] = NULL;
        int there = own ? 1 : take_start(PyList_GetItem(rows, (Py_ssize_t)i), sheet, where + i);
        if (there < 1) return there;
    }
    for (size_t i = 0; i < n; i++)
        if (where[i] && !take_label(where[i], sheet, labels + i)) return -1;
    return 1;
}

PyObject *call_listed(PyObject *module, PyObject *arguments) {
    (void)module;
    Sheet sheet = {0};
    PyObject *rows, *others, *both = NULL;
    const char *scores;
    Py_ssize_t scores_size;
    char format;
    if (!PyArg_ParseTuple(arguments, "y*y*OOy#c", &sheet.text, &sheet.starts, &rows, &others, &scores, &scores_size,
                          &format))
        return NULL;
    int sound = expect(PyList_Check(rows), "a list of rows");
    size_t n = sound ? (size_t)PyList_Size(rows) : 0;
    sound = sound && expect(Py_IsNone(others) || (PyList_Check(others) && (size_t)PyList_Size(others) == n),
                            "a label or None for each row");
    const char **where = malloc((n + 1) * sizeof *where);
    Label *labels = malloc((n + 1) * sizeof *labels);
    if (sound && where && labels) {
        int there = take_labels(rows, others, n, &sheet, where, labels);
        if (!there) both = Py_NewRef(Py_None);
        if (there > 0) both = told(labels, n, scores, scores_size, format);
    } else if (sound)
        PyErr_NoMemory();
    free(where);
    free(labels);
    PyBuffer_Release(&sheet.text);
    PyBuffer_Release(&sheet.starts);
    return both;
}
