package tags

// Unknown is the id that LookupAll gives a set that the store does not have. No set ever gets it.
const Unknown = ^uint32(0)

// lookupLot is how many sets are hashed before any is searched for: the memory they read is then asked for at once, and
// what is asked for stays in the nearest cache.
const lookupLot = 64

// LookupAll looks up all sets of an arena, as batch.Dict.Arena gives it: set i is data[offs[i]:offs[i+1]]. It writes their
// ids to the start of ids, Unknown for those that are not in the store, and returns how many those are. ids has room for
// len(offs)-1 of them. Sets need not be valid. Like Lookup it may run at any time in any goroutine and waits for nobody.
func (s *Store) LookupAll(data []byte, offs []uint32, ids []uint32) (unknown int) {
	if len(offs) < 2 {
		return 0
	}
	ids = ids[:len(offs)-1]
	var hashes [lookupLot]encHash
	for at := 0; at < len(ids); at += lookupLot {
		lot := ids[at:min(at+lookupLot, len(ids))]
		ends := offs[at : at+len(lot)+1]
		for i := range lot {
			hashes[i] = s.recent.hash(data[ends[i]:ends[i+1]])
		}
		s.recent.getAll(hashes[:len(lot)], lot)
		for i, id := range lot {
			if id != Unknown {
				continue
			}
			enc := data[ends[i]:ends[i+1]]
			if len(enc) == 0 {
				lot[i] = 0
			} else if id, ok := s.search(enc); ok {
				s.recent.put(hashes[i], id)
				lot[i] = id
			} else {
				unknown++
			}
		}
	}
	return unknown
}
