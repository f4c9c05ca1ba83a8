package cli

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
)

// lookupTime bounds how long the addresses of one name in a filter are looked for.
const lookupTime = 5 * time.Second

// parseFilter reads what --filter says; nil when it says nothing. Mistakes are usage errors.
func parseFilter(ctx context.Context, text string) (*pcapfilter.Expr, error) {
	if text == "" {
		return nil, nil
	}
	e, err := pcapfilter.Parse(text, func(o *pcapfilter.Options) {
		o.LookupHost = func(name string) ([]netip.Addr, error) {
			ctx, cancel := context.WithTimeout(ctx, lookupTime)
			defer cancel()
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	})
	if err == nil {
		_, err = e.CompileKernel() // its limits hold for files, too: they are generous
	}
	if errors.Is(err, pcapfilter.ErrSyntax) || errors.Is(err, pcapfilter.ErrTooLong) {
		return nil, usagef("--filter: %w", err)
	}
	return e, err
}
