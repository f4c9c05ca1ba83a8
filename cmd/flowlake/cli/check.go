package cli

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/query/render"
)

func newCheck(s *Streams) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "check",
		Short:   "Check a configuration, or what this machine allows",
		Example: "  flowlake check config flowlake.yaml\n  flowlake check kernel\n  flowlake check interfaces",
	})
	cmd.AddCommand(newCheckConfig(s), newCheckKernel(s), newCheckInterfaces(s))
	return cmd
}

func newCheckConfig(s *Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "config [FILE]",
		Short: "Print the server's settings as they would hold, or what is wrong with them",
		Long: `Print the settings that 'flowlake server --config FILE' would run with, the environment included, as YAML. Where something is
wrong, say what and exit with code 2.`,
		Example: "  flowlake check config flowlake.yaml\n  FLOWLAKE_COLLECT=off flowlake check config",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			f := &serverFlags{}
			server := f.command(s)
			if len(files) == 1 {
				if err := server.Flags().Set("config", files[0]); err != nil {
					return usagef("%w", err)
				}
			}
			cmd.Root().AddCommand(server) // so that its flags are known
			defer cmd.Root().RemoveCommand(server)
			if err := applyConfig(server, s); err != nil {
				return err
			}
			if err := f.check(server.Flags()); err != nil {
				return err
			}
			return printSettings(s, server.Flags())
		},
	}
}

// printSettings writes the flags as a configuration file that gives them.
func printSettings(s *Streams, flags *pflag.FlagSet) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	for _, v := range settings(flags) {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: v.name}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: v.value, LineComment: v.source}
		if flags.Lookup(v.name).Value.Type() == pairsType {
			value = &yaml.Node{Kind: yaml.MappingNode}
			if v.value == "" {
				value.Style = yaml.FlowStyle
				doc.Content = append(doc.Content, key, value)
				continue
			}
			for item := range strings.SplitSeq(v.value, ",") {
				k, val, _ := strings.Cut(item, "=")
				value.Content = append(value.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: k}, &yaml.Node{Kind: yaml.ScalarNode, Value: val, LineComment: v.source})
			}
		}
		doc.Content = append(doc.Content, key, value)
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("print settings: %w", err)
	}
	_, err = s.Out.Write(out)
	return err
}

// settings are the flags that make the configuration, by name, with where each value is from.
func settings(flags *pflag.FlagSet) []setting {
	var out []setting
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "config" {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		out = append(out, setting{f.Name, value, sourceOf(f), f.Usage})
	})
	return out
}

func sourceOf(f *pflag.Flag) string {
	switch {
	case !f.Changed:
		return "default"
	case f.Annotations[fromEnv] != nil:
		return "environment"
	case f.Annotations[fromFile] != nil:
		return "file"
	}
	return "flag"
}

// finding is one thing that the machine or the rights of the process allow or not.
type finding struct{ what, found, state, without, todo string }

func newCheckKernel(s *Streams) *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use:     "kernel",
		Short:   "Say what this kernel and the rights of the process allow, what is lost and what to do",
		Example: "  flowlake check kernel\n  sudo flowlake check kernel --format json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if render.MIME(format) == "" {
				return usagef("unknown format %q; there are %s", format, strings.Join(render.Names(), ", "))
			}
			out := &listing{s: s, format: format}
			out.head("check", "found", "state", "without_it", "to_do")
			for _, f := range append([]finding{{"platform", runtime.GOOS + "/" + runtime.GOARCH, "ok", "", ""}}, kernelFindings()...) {
				if err := out.row(f.what, f.found, f.state, f.without, f.todo); err != nil {
					return err
				}
			}
			return out.close()
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "how the list is written: "+strings.Join(render.Names(), ", "))
	return cmd
}

func newCheckInterfaces(s *Streams) *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use:   "interfaces",
		Short: "List the network interfaces that can be captured on",
		Long: `List the network interfaces of this host: what --interface of the server takes. On Windows an interface has a name, which is a
path, and the alias that Windows shows; either will do.`,
		Example: "  flowlake check interfaces\n  flowlake check interfaces --format json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if render.MIME(format) == "" {
				return usagef("unknown format %q; there are %s", format, strings.Join(render.Names(), ", "))
			}
			devices, err := capture.Devices()
			if err != nil {
				return err
			}
			out := &listing{s: s, format: format}
			out.head("name", "alias", "description", "addresses", "state")
			for i := range devices {
				d := &devices[i]
				var addrs []string
				for _, a := range d.Addrs {
					addrs = append(addrs, a.String())
				}
				state := "down"
				if d.Up {
					state = "up"
				}
				if err := out.row(d.Name, d.Alias, d.Description, strings.Join(addrs, " "), state); err != nil {
					return err
				}
			}
			return out.close()
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "how the list is written: "+strings.Join(render.Names(), ", "))
	return cmd
}
