// Command flowlake watches a system, stores what it sees and answers questions about it.
package main

import (
	"context"
	"os"

	"github.com/flowlake/flowlake/cmd/flowlake/cli"
)

func main() { os.Exit(cli.Run(context.Background(), os.Args[1:], cli.OS())) }
