package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
)

// The rollups of a soak: soakSteady is there from the first start on, soakChurn is created, filled and dropped again and again
// over all rows that there are, and soakShort has both a source whose rows expire and rows that do themselves.
var soakSteady, soakChurn, soakShort = metaRollups[1].def, metaRollups[0].def, metaRollups[2].def

// soakRest is the least time from one churn to the next.
const soakRest = 3 * time.Second

// prepareRollups makes those rollups that stay, and drops one that a killed process has left half filled.
func (s *soaker) prepareRollups(ctx context.Context) error {
	for _, def := range []schema.RollupDef{soakSteady, soakShort} {
		if err := s.d.CreateRollup(ctx, def); err != nil && !errors.Is(err, schema.ErrRollupExists) {
			return err
		}
	}
	if err := s.d.DropRollup(ctx, soakChurn.Name, true); err != nil {
		return err
	}
	return s.d.SetRetention(ctx, soakShort.Name, 2*soakKeep)
}

// rolled counts the rows that a rollup of all events tells of: none that was acknowledged before is missing, none is there
// that was not begun.
func (s *soaker) rolled(name string) error {
	var least, most int64
	for _, n := range s.known() {
		least += n * soakBatch
	}
	n, err := s.rollupRows(name)
	if err != nil {
		return err
	}
	for w := range s.begun {
		most += s.begun[w].Load() * soakBatch
	}
	if n < least || n > most || n%soakBatch != 0 {
		return fmt.Errorf("rollup %s tells of %d rows, %d are acknowledged, %d begun", name, n, least, most)
	}
	s.rollupChecks.Add(1)
	return nil
}

// rollupRows adds up the column rows of a rollup.
func (s *soaker) rollupRows(name string) (rows int64, err error) {
	u, ok := s.d.tables().Rollup(name)
	if !ok {
		return 0, fmt.Errorf("rollup %s is gone", name)
	}
	req := &pred.Request{Table: u.Target, Columns: []int{u.Target.MustColumn("rows")}, From: pred.MinTime, To: pred.MaxTime}
	err = eachRow(s.d, req, func(b *batch.Batch, i int) error { rows += b.Cols[0].I64[i]; return nil })
	return rows, err
}

// churnRollups checks those rollups and makes another one all the time, with pauses as long as that takes.
func (s *soaker) churnRollups() error {
	ctx := context.Background()
	for {
		began := time.Now()
		if err := s.d.Backfill(ctx); err != nil {
			return fmt.Errorf("backfill: %w", err)
		}
		if err := s.rolled(soakSteady.Name); err != nil {
			return err
		}
		if n, err := s.rollupRows(soakShort.Name); err != nil {
			return err
		} else if n < 0 {
			return fmt.Errorf("rollup %s tells of %d rows", soakShort.Name, n)
		}
		if err := s.d.CreateRollup(ctx, soakChurn); err != nil {
			return fmt.Errorf("create a rollup: %w", err)
		}
		if err := s.d.Backfill(ctx); err != nil {
			return fmt.Errorf("backfill a new rollup: %w", err)
		}
		if err := s.rolled(soakChurn.Name); err != nil {
			return err
		}
		if err := s.d.DropRollup(ctx, soakChurn.Name, false); err != nil {
			return fmt.Errorf("drop a rollup: %w", err)
		}
		s.churns.Add(1)
		time.Sleep(max(soakRest, 2*time.Since(began)))
	}
}
