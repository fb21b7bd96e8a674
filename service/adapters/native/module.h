/* What the parts of the module share. The limited API: one file for all releases of Python. */

#pragma once

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "order.h"
#include "scan.h"
#include "scores.h"

/* What is written for a kind of processor. */
typedef struct {
    const char *name;
    Pass *pass;
    Score *score;
} Kind;

/* The kind of a name; NULL, and an error, where the processor is of another. */
const Kind *kind_of(const char *name);

/* Whether it is sound; if not, the error says what was expected. */
int expect(int sound, const char *what);

/* Whether all of these int64 are at least 0 and less than the end. */
int all_below(const Py_buffer *numbers, size_t end);

/* Writes slots (int32) and scores (float64) down from a place on, and adds the places whose score the next one has too
 * to a list; 0, and an error, where it cannot.
 */
int tell_places(const Placed *placed, size_t n, size_t from, PyObject *slots, PyObject *scores, PyObject *equal);

/* Rows and lists beyond these are refused, so that no product of sizes overflows. A vector's product with another of as
 * many numbers is held by 32 bits (integer_rows.py).
 */
enum { MOST_QUADS = 1 << 15, MOST_PLACES = INT32_MAX };

/* Products of numbers, to take fewer of which Python's lock is kept: to get it back may take half a millisecond. */
enum { SHORT_WORK = 1 << 18 };

/* What Python calls. */
PyObject *call_scan(PyObject *module, PyObject *arguments), *call_score(PyObject *module, PyObject *arguments);
PyObject *call_made_up(PyObject *module, PyObject *arguments), *call_holds(PyObject *module, PyObject *arguments);
PyObject *call_rounded(PyObject *module, PyObject *arguments), *call_order(PyObject *module, PyObject *arguments);
PyObject *call_round_rows(PyObject *module, PyObject *arguments);
PyObject *call_whole(PyObject *module, PyObject *arguments);
PyObject *call_listed(PyObject *module, PyObject *arguments);
