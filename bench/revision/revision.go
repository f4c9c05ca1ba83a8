// Package revision says which commit is being measured.
package revision

import (
	"os/exec"
	"strings"
)

// results is the folder that measuring itself changes.
const results = "bench/results"

// Commit is the commit of the working folder, with "-dirty" behind it when anything but the results was changed since, or
// "unknown" without git.
func Commit() string {
	hash, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	commit := strings.TrimSpace(string(hash))
	changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)"+results).Output()
	if err != nil || len(changed) > 0 {
		commit += "-dirty"
	}
	return commit
}
