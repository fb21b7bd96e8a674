/* Lists as they are sent, put together of what is at hand of their items (service/labels.py). */

#pragma once

#include <stddef.h>

enum { HASH = 5 }; /* bytes that stand for an item in a cursor */

typedef struct {
    const char *hash;  /* HASH bytes */
    const char *place; /* JSON, with a zero byte for the score */
    size_t size;       /* of the place */
} Label;

/* A label of bytes that stand one after the other: hash, then place. 0 where there is no room for a score. */
int label_of(const char *bytes, size_t size, Label *label);

/* How long the list is, the brackets included; 0 where there are not as many scores, between commas, as labels. */
size_t list_length(const Label *labels, size_t n, const char *scores, size_t scores_size);

/* Writes it where there is so much room. */
void write_list(const Label *labels, size_t n, const char *scores, size_t scores_size, char *to);

/* How long a cursor over n items is at most, and how much room it takes to write it. */
size_t cursor_length(size_t n), cursor_room(size_t n);

/* Writes what names all items once, in the order of their hashes, after the format; returns how long it is. */
size_t write_cursor(const Label *labels, size_t n, char format, unsigned char *room, char *to);
