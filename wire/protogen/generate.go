package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// generate returns the generated files of the named .proto files: their text by name, both relative
// to root.
func generate(ctx context.Context, root string, names []string) (map[string]string, error) {
	compiled, err := compile(ctx, root, names)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	request := requestFor(names, compiled)
	if err := plugin(ctx, "protoc-gen-go", request, out); err != nil {
		return nil, err
	}
	if services := withServices(compiled); len(services) > 0 {
		request.FileToGenerate = services
		if err := plugin(ctx, "protoc-gen-connect-go", request, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func compile(ctx context.Context, root string, names []string) (linker.Files, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments go into the generated code
	}
	return c.Compile(ctx, names...)
}

// requestFor is what protoc would send: every file that is needed, imports before their importers.
func requestFor(names []string, files linker.Files) *pluginpb.CodeGeneratorRequest {
	seen := make(map[string]bool)
	var all []*descriptorpb.FileDescriptorProto
	var add func(protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		all = append(all, protoutil.ProtoFromFileDescriptor(fd))
	}
	for _, f := range files {
		add(f)
	}
	return &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      all,
	}
}

func withServices(files linker.Files) []string {
	var names []string
	for _, f := range files {
		if f.Services().Len() > 0 {
			names = append(names, f.Path())
		}
	}
	return names
}

// plugin runs a tool of go.mod with the plugin protocol of protoc and collects its files. The working
// directory must be inside the module.
func plugin(ctx context.Context, tool string, request *pluginpb.CodeGeneratorRequest, out map[string]string) error {
	stdin, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go tool %s: %w\n%s", tool, err, stderr.String())
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(stdout.Bytes(), &response); err != nil {
		return fmt.Errorf("go tool %s answered nonsense: %w", tool, err)
	}
	if response.Error != nil {
		return fmt.Errorf("go tool %s: %w", tool, errors.New(response.GetError()))
	}
	for _, f := range response.File {
		out[f.GetName()] = f.GetContent()
	}
	return nil
}
