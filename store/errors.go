package store

import "errors"

// ErrTooBig is returned for a batch or a group that the store can't write in one transaction, for an
// empty key and for a key or value above its limit. Nothing of it was written.
var ErrTooBig = errors.New("store: batch does not fit one transaction")

// ErrMissing is returned when there is no complete database where one is expected. A new one is never
// put in its place: it would have forgotten every voucher and every phase.
var ErrMissing = errors.New("store: no database there")

// ErrOther is returned when the database is not the one that is expected: an older one, or one that was
// made in its place.
var ErrOther = errors.New("store: this is another database than the one that belongs here")

// ErrWrongKey is returned when the data is encrypted with another key.
var ErrWrongKey = errors.New("store: data is encrypted with another key")

// ErrLocked is returned while another process has the data open.
var ErrLocked = errors.New("store: data is in use by another process")

// ErrNoSpace is returned when the disk is too full to open the data safely.
var ErrNoSpace = errors.New("store: not enough free disk space")

// ErrBroken is returned by every write after one whose outcome is unknown. What the disk holds is only
// known again after the data was opened anew.
var ErrBroken = errors.New("store: an earlier write failed, restart to continue")
