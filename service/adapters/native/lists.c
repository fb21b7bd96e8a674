/* Lists as they are sent, put together of what is at hand of their items. */

#include "lists.h"

#include <stdlib.h>
#include <string.h>

static const char RANK[] = ",\"rank\":", URL_SAFE[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *put(char *to, const char *text, size_t size) { return (char *)memcpy(to, text, size) + size; }

static char *put_number(char *to, size_t number) {
    char digits[20];
    size_t first = sizeof digits;
    for (; number; number /= 10) digits[--first] = (char)('0' + number % 10);
    return put(to, digits + first, sizeof digits - first);
}

int label_of(const char *bytes, size_t size, Label *label) {
    if (size < HASH) return 0;
    *label = (Label){bytes, bytes + HASH, size - HASH};
    return memchr(label->place, 0, label->size) != NULL;
}

size_t list_length(const Label *labels, size_t n, const char *scores, size_t scores_size) {
    size_t commas = 0, all = scores_size + 2;
    for (size_t i = 0; i < scores_size; i++) commas += scores[i] == ',';
    if (n ? !scores_size || commas != n - 1 : scores_size) return 0;
    for (size_t i = 0, digits = 1, next = 10; i < n; i++) {
        if (i + 1 == next) {
            next *= 10;
            digits++;
        }
        all += labels[i].size - 1 + sizeof RANK - 1 + digits; /* the commas between scores go between places */
    }
    return all;
}

void write_list(const Label *labels, size_t n, const char *scores, size_t scores_size, char *to) {
    const char *rest = scores + scores_size;
    *to++ = '[';
    for (size_t i = 0; i < n; i++) {
        const char *place = labels[i].place, *open = memchr(place, 0, labels[i].size), *end = scores;
        while (end < rest && *end != ',') end++;
        if (i) *to++ = ',';
        to = put(to, place, (size_t)(open - place));
        to = put(to, scores, (size_t)(end - scores));
        to = put_number(put(to, RANK, sizeof RANK - 1), i + 1);
        to = put(to, open + 1, (size_t)(place + labels[i].size - open - 1));
        scores = end + 1;
    }
    *to = ']';
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

size_t cursor_room(size_t n) { return 1 + n * HASH; }

size_t cursor_length(size_t n) { return 4 + 2 * cursor_room(n); }

size_t write_cursor(const Label *labels, size_t n, char format, unsigned char *room, char *to) {
    size_t kept = 0;
    room[0] = (unsigned char)format;
    for (size_t i = 0; i < n; i++) memcpy(room + 1 + i * HASH, labels[i].hash, HASH);
    qsort(room + 1, n, HASH, compare);
    for (size_t i = 0; i < n; i++) {
        if (kept && !memcmp(room + 1 + (kept - 1) * HASH, room + 1 + i * HASH, HASH)) continue;
        memmove(room + 1 + kept++ * HASH, room + 1 + i * HASH, HASH);
    }
    return encoded(room, 1 + kept * HASH, to);
}
