package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the environment variables that set flags: FLOWLAKE_DATA for --data.
const envPrefix = "FLOWLAKE_"

// notForFile are flags that make no sense in a configuration file.
var notForFile = []string{"help", "config"}

// fromEnv and fromFile are the annotations of flags that the environment or the file has set.
const (
	fromEnv  = "flowlake_from_env"
	fromFile = "flowlake_from_file"
)

// applyConfig sets the flags that were not given on the command line from the environment and, where that says nothing,
// from the file that --config names. A key that is no flag is an error.
func applyConfig(cmd *cobra.Command, s *Streams) error {
	if err := unknownEnv(cmd.Root(), s); err != nil {
		return err
	}
	flags := cmd.Flags()
	if err := applyEnv(flags, s); err != nil {
		return err
	}
	path, err := flags.GetString("config")
	if err != nil || path == "" {
		return nil // not a command with a file, or none named
	}
	return applyFile(flags, path)
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// serviceLinks are variables that Kubernetes sets in every container where a service is called flowlake.
var serviceLinks = regexp.MustCompile(`^FLOWLAKE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$`)

// forTests are read by the project's tests, not by the program.
var forTests = []string{"FLOWLAKE_CORPUS", "FLOWLAKE_METAMORPHIC", "FLOWLAKE_PYTHON", "FLOWLAKE_SOAK"}

// unknownEnv refuses variables that no command knows: a misspelt one would be passed over in silence.
func unknownEnv(root *cobra.Command, s *Streams) error {
	var known []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, envName(f.Name)) })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, kv := range s.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) && !slices.Contains(forTests, name) && !serviceLinks.MatchString(name) {
			return usagef("environment: %s is not a setting; settings are the commands' flags, such as %s for --data", name, envName("data"))
		}
	}
	return nil
}

func applyEnv(flags *pflag.FlagSet, s *Streams) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		v := s.Getenv(envName(f.Name))
		if v == "" || f.Changed || f.Name == "help" {
			return
		}
		if err := flags.Set(f.Name, v); err != nil {
			errs = append(errs, usagef("%s=%s: %w", envName(f.Name), v, err))
			return
		}
		errs = append(errs, flags.SetAnnotation(f.Name, fromEnv, []string{"true"}))
	})
	return errors.Join(errs...)
}

// onCommandLine says whether a flag was given on the command line itself.
func onCommandLine(flags *pflag.FlagSet, name string) bool {
	f := flags.Lookup(name)
	return f.Changed && f.Annotations[fromEnv] == nil
}

func applyFile(flags *pflag.FlagSet, path string) error {
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			return fmt.Errorf("read configuration: %w", err)
		}
		return usagef("configuration %s: %w", path, err)
	}
	// what was given before the file wins over all it says of a key, also of a list's
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	for _, key := range k.Keys() {
		name, sub, nested := strings.Cut(key, ".")
		f := flags.Lookup(name)
		if f == nil || slices.Contains(notForFile, name) || nested && f.Value.Type() != pairsType {
			return usagef("configuration %s: unknown key %q; the keys are the flags of this command, without dashes in front", path, key)
		}
		if given[name] {
			continue
		}
		if m, ok := k.Get(key).(map[string]any); f.Value.Type() == pairsType && (k.Get(key) == nil || ok && len(m) == 0) {
			continue // no pairs
		}
		value := k.String(key)
		if list := k.Strings(key); len(list) > 0 {
			value = strings.Join(list, ",")
		}
		if nested {
			value = sub + "=" + value
		}
		if err := flags.Set(name, value); err != nil {
			return usagef("configuration %s: %s: %w", path, key, err)
		}
		if err := flags.SetAnnotation(name, fromFile, []string{"true"}); err != nil {
			return err
		}
	}
	return nil
}
