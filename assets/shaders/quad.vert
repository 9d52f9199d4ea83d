#version 330 core
// A rectangle of the window, without a vertex buffer: four vertices of a triangle strip, numbered 0 to 3.

uniform vec4 place;  // left, top, width, height as shares of the window, y down

out vec2 uv;         // (0, 0) is the picture's top left

void main() {
    uv = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    vec2 at = place.xy + uv * place.zw;
    gl_Position = vec4(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0);
}
