//go:build !linux && !darwin && !freebsd && !windows

package vfs

import (
	"errors"
	"os"
)

func isPlatformNoSpace(error) bool { return false }

func syncDir(d *os.File) error { return d.Sync() }

// tryLock refuses: to open a folder twice unseen is worse than not to open it.
func tryLock(*os.File) (held bool, err error) { return false, errors.ErrUnsupported }

func freeSpace(string) (Space, error) { return Space{}, errors.ErrUnsupported }
