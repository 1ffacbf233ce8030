//! x
pub async fn show() -> actix_web::HttpResponse {
    actix_web::HttpResponse::Ok().finish()
}
