package enc

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt is returned when the bytes are not a column of the wanted family and length: truncated, of an unknown
	// codec, or with counts and positions that contradict each other.
	ErrCorrupt = errors.New("enc: corrupt column")
	// ErrTooLarge is returned when byte strings would unpack to more than the caller allows.
	ErrTooLarge = errors.New("enc: column larger than allowed")
)

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }
