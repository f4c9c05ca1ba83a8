package parse

import "strings"

// Suggest returns the candidate that word was most likely meant to be, or ""
// when none is near. Letter case does not count; one slip (a letter missing,
// wrong, too many, or two swapped) is allowed in up to 4 letters, two up to 8,
// three beyond. Of equals the one with the longer common beginning wins, then
// the first.
func Suggest(word string, candidates []string) string {
	word = strings.ToLower(word)
	w := []rune(word)
	if len(w) < 2 || len(w) > 64 {
		return ""
	}
	limit := 3
	if len(w) <= 4 {
		limit = 1
	} else if len(w) <= 8 {
		limit = 2
	}
	best, bestDist, bestPrefix := "", limit+1, -1
	for _, c := range candidates {
		lower := strings.ToLower(c)
		if lower == word {
			return c
		}
		r := []rune(lower)
		if d := len(r) - len(w); d > limit || -d > limit {
			continue
		}
		d := distance(w, r, bestDist)
		if d > bestDist || d > limit || d >= len(w) {
			continue
		}
		if p := commonPrefix(w, r); d < bestDist || p > bestPrefix {
			best, bestDist, bestPrefix = c, d, p
		}
	}
	return best
}

func commonPrefix(a, b []rune) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is the optimal string alignment distance (Damerau-Levenshtein with
// no letter moved twice), or some value above limit.
func distance(a, b []rune, limit int) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, prev2[j-2]+1)
			}
			cur[j] = d
			least = min(least, d)
		}
		if least > limit {
			return least
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
