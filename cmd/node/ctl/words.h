/* A line of the shell as words. Pure.
 *
 * Words stand between blanks. 'Single quotes' keep everything; "double quotes" everything but
 * \\ \" \n \r \t and \xHH; a backslash outside quotes keeps the next character. A line whose first
 * character is # is a comment. */
#ifndef KM_CMD_NODE_CTL_WORDS_H
#define KM_CMD_NODE_CTL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

#define WORDS_MAX 64

typedef struct word_list {
  char *at[WORDS_MAX + 1]; /* NULL behind the last */
  size_t from[WORDS_MAX];  /* where in the line each begins, its quote included */
  size_t count;
  char quote; /* the one that is still open at the end: ' or ", else 0 */
  bool ended; /* the line ends outside a word: the next one would be new */
  char *text; /* holds them all */
} word_list;

/* 0, KM_ERR_INVALID (a quote that is not closed, a backslash at the end, too many words) or
 * KM_ERR_NOMEM. */
KM_NODISCARD int words_split(word_list *ret, const char *line, km_errinfo *err);
/* The same of a line that is still being typed: what is open is no error. */
KM_NODISCARD int words_split_partial(word_list *ret, const char *line, size_t len);
void words_free(word_list *w);

/* Writes a word so that words_split reads it back, within `quote` if that is not 0: a word without
 * need of quotes stays as it is. From malloc; NULL: no memory. */
char *words_quote(const char *word, char quote);

#endif /* KM_CMD_NODE_CTL_WORDS_H */
