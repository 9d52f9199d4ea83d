#version 330 core
// A rectangle in the window without a vertex buffer: four vertices of a triangle strip, numbered 0 to 3.

uniform vec4 rect;   // left, top, width, height as fractions of the window, y down

out vec2 uv;         // (0, 0) is the top left of the texture

void main() {
    uv = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    vec2 at = rect.xy + uv * rect.zw;
    gl_Position = vec4(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0);
}
