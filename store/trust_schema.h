/* The tables of trust and statements, as a part of the store's first migration. */
#ifndef KM_STORE_TRUST_SCHEMA_H
#define KM_STORE_TRUST_SCHEMA_H

/* trust: states and origins are the numbers of keymesh/trust.h, times are UNIX seconds; `seen` is
 * the last request of a pending peer.
 * statement: the one of each author about each subject that counts, as encoded. An author's
 * announcement is the one about himself. */
#define KM_TRUST_SCHEMA                                                                            \
  "CREATE TABLE trust(id BLOB PRIMARY KEY CHECK(length(id) = 32), state INTEGER NOT NULL,"         \
  " origin INTEGER NOT NULL, name TEXT NOT NULL, note TEXT NOT NULL, since INTEGER NOT NULL,"      \
  " expires INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;"                               \
  "CREATE INDEX trust_age ON trust(state, origin, seen);"                                          \
  "CREATE TABLE statement(author BLOB NOT NULL, subject BLOB NOT NULL, kind INTEGER NOT NULL,"     \
  " at INTEGER NOT NULL, expires INTEGER NOT NULL, bytes BLOB NOT NULL,"                           \
  " PRIMARY KEY(author, subject)) WITHOUT ROWID;"                                                  \
  "CREATE INDEX statement_about ON statement(subject, kind, expires);"

/* recommended: the latest end of all recommendations that an author has signed about a subject. It
 * is kept for ourselves; of others there is what was here before this table, until it is over. */
#define KM_TRUST_SCHEMA_2                                                                          \
  "CREATE TABLE recommended(author BLOB NOT NULL, subject BLOB NOT NULL, until INTEGER NOT NULL,"  \
  " PRIMARY KEY(author, subject)) WITHOUT ROWID;"                                                  \
  "INSERT INTO recommended SELECT author, subject, expires - (kind = 3) FROM statement"            \
  " WHERE kind IN (2, 3);"

#endif /* KM_STORE_TRUST_SCHEMA_H */
