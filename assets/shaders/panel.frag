#version 330 core
// A rendered panel of text, blended over the frame.

uniform sampler2D panel;

in vec2 uv;
out vec4 color;

void main() {
    color = texture(panel, uv);
}
