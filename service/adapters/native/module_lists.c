/* Lists as they are sent, put together of what is at hand of their items (labels.py). */

#include "module.h"

#include <stdlib.h>
#include <string.h>

enum { HASH = 5 }; /* bytes that stand for an item in a cursor */

static const char RANK[] = ",\"rank\":", URL_SAFE[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* One part of a label: (JSON of the place, with a zero byte for the score; hash). */
static int part_of(PyObject *labels, Py_ssize_t number, Py_ssize_t part, char **text, Py_ssize_t *size) {
    PyObject *label = PyList_GetItem(labels, number);
    if (!label || !expect(PyTuple_Check(label) && PyTuple_Size(label) == 2, "pairs of bytes")) return 0;
    return !PyBytes_AsStringAndSize(PyTuple_GetItem(label, part), text, size);
}

static char *put(char *to, const char *text, size_t size) { return (char *)memcpy(to, text, size) + size; }

static char *put_number(char *to, size_t number) {
    char digits[20];
    size_t first = sizeof digits;
    for (; number; number /= 10) digits[--first] = (char)('0' + number % 10);
    return put(to, digits + first, sizeof digits - first);
}

/* What all takes, the brackets included; 0, and an error, where the parts do not fit together. */
static Py_ssize_t length_of(PyObject *labels, const char *scores, Py_ssize_t scores_size) {
    Py_ssize_t n = PyList_Size(labels), commas = 0, all = scores_size + 2;
    for (Py_ssize_t i = 0; i < scores_size; i++) commas += scores[i] == ',';
    if (!expect(n ? scores_size && commas == n - 1 : !scores_size, "a score for each label")) return 0;
    for (Py_ssize_t i = 0, digits = 1, next = 10; i < n; i++) {
        char *text;
        Py_ssize_t size;
        if (!part_of(labels, i, 0, &text, &size) || !expect(memchr(text, 0, (size_t)size) != NULL, "places for scores"))
            return 0;
        if (i + 1 == next) {
            next *= 10;
            digits++;
        }
        all += size - 1 + (Py_ssize_t)sizeof RANK - 1 + digits; /* the commas between scores go between places */
    }
    return all;
}

PyObject *call_places(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *labels;
    const char *scores;
    Py_ssize_t scores_size;
    if (!PyArg_ParseTuple(arguments, "Oy#", &labels, &scores, &scores_size)) return NULL;
    if (!expect(PyList_Check(labels), "a list of labels")) return NULL;
    Py_ssize_t all = length_of(labels, scores, scores_size), n = PyList_Size(labels);
    PyObject *found = all ? PyBytes_FromStringAndSize(NULL, all) : NULL;
    if (!found) return NULL;
    char *to = PyBytes_AsString(found);
    *to++ = '[';
    for (Py_ssize_t i = 0; i < n; i++) {
        char *text;
        Py_ssize_t size;
        if (!part_of(labels, i, 0, &text, &size)) { /* it was sound just now */
            Py_DECREF(found);
            return NULL;
        }
        const char *open = memchr(text, 0, (size_t)size), *end = scores;
        while (end < scores + scores_size && *end != ',') end++;
        if (i) *to++ = ',';
        to = put(to, text, (size_t)(open - text));
        to = put(to, scores, (size_t)(end - scores));
        to = put_number(put(to, RANK, sizeof RANK - 1), (size_t)i + 1);
        to = put(to, open + 1, (size_t)(text + size - open - 1));
        scores_size -= end - scores + 1;
        scores = end + 1;
    }
    *to = ']';
    return found;
}

static int compare(const void *one, const void *other) { return memcmp(one, other, HASH); }

/* Base 64 without what fills it up. */
static size_t encoded(const unsigned char *bytes, size_t size, char *to) {
    size_t written = 0;
    for (size_t i = 0; i < size; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16;
        if (i + 1 < size) group |= (unsigned)bytes[i + 1] << 8;
        if (i + 2 < size) group |= bytes[i + 2];
        for (size_t j = 0; j < 4 && i + j <= size; j++) to[written++] = URL_SAFE[group >> (18 - 6 * j) & 63];
    }
    return written;
}

PyObject *call_cursor(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *labels, *format;
    if (!PyArg_ParseTuple(arguments, "OS", &labels, &format)) return NULL;
    if (!expect(PyList_Check(labels) && PyBytes_Size(format) == 1, "a list of labels and one byte")) return NULL;
    size_t n = (size_t)PyList_Size(labels), kept = 0;
    unsigned char *bytes = malloc(1 + n * HASH);
    char *text = malloc(4 + 2 * (1 + n * HASH));
    int sound = bytes && text;
    if (!sound) PyErr_NoMemory();
    for (size_t i = 0; sound && i < n; i++) {
        char *hash;
        Py_ssize_t size;
        sound = part_of(labels, (Py_ssize_t)i, 1, &hash, &size) && expect(size == HASH, "hashes of five bytes");
        if (sound) memcpy(bytes + 1 + i * HASH, hash, HASH);
    }
    PyObject *cursor = NULL;
    if (sound) {
        bytes[0] = (unsigned char)*PyBytes_AsString(format);
        qsort(bytes + 1, n, HASH, compare);
        for (size_t i = 0; i < n; i++) {
            if (i && !memcmp(bytes + 1 + (kept - 1) * HASH, bytes + 1 + i * HASH, HASH)) continue;
            memmove(bytes + 1 + kept++ * HASH, bytes + 1 + i * HASH, HASH);
        }
        cursor = PyUnicode_FromStringAndSize(text, (Py_ssize_t)encoded(bytes, 1 + kept * HASH, text));
    }
    free(bytes);
    free(text);
    return cursor;
}
