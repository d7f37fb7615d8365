/* The tables of messages, as a part of the store's first migration. */
#ifndef KM_STORE_MESSAGE_SCHEMA_H
#define KM_STORE_MESSAGE_SCHEMA_H

/* message: what waits for delivery, in the order of arrival: ours, and broadcasts of others that
 * are passed on. `target` is empty for a broadcast. A place is never given twice.
 * message_mark: which peers have a broadcast.
 * message_seen: what came, so that a repeat is recognised.
 * message_received: the last that came, for who asks. Times are UNIX milliseconds. */
#define KM_MESSAGE_SCHEMA                                                                          \
  "CREATE TABLE message(place INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,"         \
  " sender BLOB NOT NULL, target BLOB NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL,"  \
  " bytes BLOB NOT NULL);"                                                                         \
  "CREATE INDEX message_to ON message(target);"                                                    \
  "CREATE INDEX message_from ON message(sender, size);"                                            \
  "CREATE INDEX message_end ON message(expires);"                                                  \
  "CREATE TABLE message_mark(place INTEGER NOT NULL REFERENCES message(place) ON DELETE CASCADE,"  \
  " peer BLOB NOT NULL, PRIMARY KEY(place, peer)) WITHOUT ROWID;"                                  \
  "CREATE TABLE message_seen(sender BLOB NOT NULL, id BLOB NOT NULL, expires INTEGER NOT NULL,"    \
  " PRIMARY KEY(sender, id)) WITHOUT ROWID;"                                                       \
  "CREATE INDEX message_seen_end ON message_seen(expires);"                                        \
  "CREATE TABLE message_received(place INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL,"  \
  " bytes BLOB NOT NULL);"

/* `refused`: why its receiver will not take it. It is not offered again, and is shown until it
 * expires. */
#define KM_MESSAGE_SCHEMA_2 "ALTER TABLE message ADD COLUMN refused TEXT;"

#endif /* KM_STORE_MESSAGE_SCHEMA_H */
